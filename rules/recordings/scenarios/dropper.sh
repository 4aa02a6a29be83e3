# No ordinary machine: somebody brings in a program by hand, slowly, as a person does who reads between two commands. A shell writes
# it, makes it executable, starts it more than twenty seconds later, and removes it while it runs. The program sleeps.
set -eu
cd /tmp
sleep 2
exec 3> /tmp/update
cat /usr/bin/sleep >&3
exec 3>&-
sleep 12
id
ls -la /tmp > /dev/null
chmod 755 /tmp/update
sleep 10
/tmp/update 7 &
sleep 4
rm /tmp/update
wait
