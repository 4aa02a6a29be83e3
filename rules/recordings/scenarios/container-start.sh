# A root is made from an archive, and a program started in it with namespaces of its own, as a container is.
set -eu
mkdir -p /srv/image/bin /srv/image/etc /srv/image/app /srv/image/proc /srv/image/tmp /srv/image/old
for program in dash cat ls sleep id env; do
  cp /usr/bin/$program /srv/image/bin/
  for library in $(ldd /usr/bin/$program | grep -o '/lib[^ ]*'); do
    mkdir -p /srv/image$(dirname $library); cp -L $library /srv/image$library
  done
done
ln -s dash /srv/image/bin/sh
printf 'app:x:1000:1000::/app:/bin/sh\n' > /srv/image/etc/passwd
printf '#!/bin/sh\nset -eu\ncat /etc/passwd\nid\nls -l /app\necho ready > /tmp/ready\nsleep 0.2\n' > /srv/image/app/entry; chmod 755 /srv/image/app/entry
tar -C /srv/image -cf /srv/image.tar .
mkdir -p /run/box && tar -C /run/box -xf /srv/image.tar
unshare --mount --pid --fork --uts --ipc --net sh -c '
  mount --bind /run/box /run/box
  mount -t proc proc /run/box/proc
  cd /run/box
  pivot_root . old
  umount -l /old
  hostname box 2>/dev/null || true
  exec /bin/env -i PATH=/bin HOME=/app /app/entry'
rm -rf /run/box
