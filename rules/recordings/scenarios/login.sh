# A person logs in, looks around, edits, works with a repository, and becomes root for one command.
set -eu
setpriv --reuid 1000 --regid 1000 --clear-groups env -i HOME=/home/dev USER=dev SHELL=/bin/bash TERM=dumb bash -l <<'SESSION'
cd
id; pwd; ls -la; uname -r; df -h / | tail -n 1; ps ax | wc -l
mkdir -p work && cd work
git init -q . ; git config user.email dev@example.org; git config user.name Dev
printf 'one\ntwo\n' > notes; git add notes; git commit -q -m first
sed -i 's/two/three/' notes; git diff --stat; git commit -q -a -m second; git log --oneline
grep -rn three . | head -n 2; python3 -c 'print(sum(range(10)))'
exit
SESSION
/bin/sh -c 'umask 022; cat /etc/group > /tmp/report; rm /tmp/report'
