//! The event model: one table of event kinds and fields, and its native, Sigma, ECS and OCSF views.
