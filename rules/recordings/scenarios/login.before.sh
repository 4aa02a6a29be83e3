# What is there before the login.
set -eu
printf 'alias ll="ls -l"\nexport EDITOR=vi\n' > /home/dev/.bashrc; printf '[ -f ~/.bashrc ] && . ~/.bashrc\n' > /home/dev/.profile
chown -R 1000:1000 /home/dev
