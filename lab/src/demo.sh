# A story of two minutes, played by the guest's shell: what is seen, what is detected, what is denied, and that denial needs
# no process of ours. Every line that it shows comes from the product or the kernel.
EVENTS=/tmp/demo/events
say() { echo; echo "-- $*"; sleep 2; }
run() { echo "   # $*"; sh -c "$*" 2>&1 | while read -r line; do echo "     $line"; done; }
# The lines of the run that hold a word, as they come.
show() {
	sleep 3
	grep -a "$1" "$EVENTS" | grep -av " grep" | tail -n "${2:-4}" | while read -r line; do echo "     $line"; done
}
ours() {
	for process in /proc/[0-9]*; do
		case "$(ls -l "$process/exe" 2>/dev/null)" in
		*/usr/bin/watertight*) echo "${process#/proc/}" ;;
		esac
	done
}

mount -t bpf none /sys/fs/bpf 2>/dev/null
mkdir -p /tmp/demo /tmp/demo/www
cp /bin/true /tmp/demo/miner
echo welcome > /tmp/demo/www/index.html
cat > /tmp/demo/policy.yaml <<'POLICY'
version: 1
rules:
  - { id: no-miner, action: deny, on: exec, match: { file: /tmp/demo/miner }, mode: enforce }
  - { id: pages-stay, action: deny, on: [write, unlink, rename], match: { under: /tmp/demo/www }, mode: enforce }
  - { id: watch-uname, action: deny, on: exec, match: { file: /bin/uname }, mode: audit }
POLICY

say "A stock kernel, $(uname -r), and this policy:"
cat /tmp/demo/policy.yaml
say "It goes into the kernel as one generation, on trial until programs still start under it."
run "watertight policy apply --confirm-within 60 /tmp/demo/policy.yaml"

say "Now the machine is watched. First of all it says what is in force."
watertight run -o live > "$EVENTS" 2>/tmp/demo/stderr &
until grep -aq "^level" "$EVENTS" 2>/dev/null; do sleep 1; done
sleep 2
head -n 8 "$EVENTS"

say "Somebody works."
run "cat /etc/passwd > /tmp/demo/note; mkdir /tmp/demo/work; mv /tmp/demo/note /tmp/demo/work/note"
show "demo/work" 3

say "Somebody runs a program from memory, without a file: a detection, with its reason and its ancestry."
run "wt-act memory.exec_memfd /bin/true demo-memory"
sleep 3
grep -a -A 6 "^ALERT" "$EVENTS" | head -n 8

say "The denied program, by its name, by another name, and by the program loader."
run "/tmp/demo/miner"
run "cp -l /tmp/demo/miner /tmp/demo/harmless; /tmp/demo/harmless"
run "/lib64/ld-linux-x86-64.so.2 /tmp/demo/miner"
show "policy.denied" 3

say "A page of the web server is to be replaced; a watched program may start, and is counted."
run "echo hacked > /tmp/demo/www/index.html"
run "uname"
run "watertight policy show"

say "Now every process of ours is killed, at once."
for process in $(ours); do kill -9 "$process"; done
sleep 1
echo "     processes of ours: $(ours | wc -l)"
run "/tmp/demo/miner"

say "And root tries to get rid of what denies."
run "rm -r /sys/fs/bpf/watertight-guard 2>&1 | head -n 2"
run "umount /sys/fs/bpf"
run "echo x >> /usr/bin/watertight-loader"
run "/tmp/demo/miner"

say "The next run takes over what the dead one left, and says how long nobody read."
timeout 60 watertight run --for 6s -o live > "$EVENTS" 2>/tmp/demo/stderr
grep -a "sensor.gap" "$EVENTS" | head -n 2
grep -a "policy.denied" "$EVENTS" | tail -n 3

say "There is a way out, for who has the loader that was installed."
run "watertight policy unseal"
run "/tmp/demo/miner && echo it starts"
