//! The agent on a host: picks sources, runs reader and detector, keeps the accounts.
