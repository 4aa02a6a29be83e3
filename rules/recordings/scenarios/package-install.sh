# A package with a program, a configuration file, a service, a nightly job and maintainer scripts is built, installed and removed.
set -eu
cd /root
mkdir -p demo/DEBIAN demo/usr-local-demo demo/opt/demo/bin demo/etc/demo demo/etc/cron.d demo/lib-demo demo/etc/systemd/system demo/etc/bash_completion.d
printf 'Package: demo\nVersion: 1.0\nArchitecture: all\nMaintainer: Demo <demo@example.org>\nDescription: a demonstration\n' > demo/DEBIAN/control
printf '/etc/demo/demo.conf\n' > demo/DEBIAN/conffiles
printf '#!/bin/sh\nset -e\nif [ "$1" = configure ]; then\n  mkdir -p /var/lib/demo\n  chown daemon:daemon /var/lib/demo\n  chmod 750 /var/lib/demo\n  [ -e /etc/demo/key ] || head -c 32 /dev/urandom | od -An -tx1 > /etc/demo/key\n  chmod 600 /etc/demo/key\nfi\nexit 0\n' > demo/DEBIAN/postinst
printf '#!/bin/sh\nset -e\n[ "$1" = purge ] && rm -rf /var/lib/demo /etc/demo\nexit 0\n' > demo/DEBIAN/postrm
chmod 755 demo/DEBIAN/postinst demo/DEBIAN/postrm
printf '#!/bin/sh\necho demo\n' > demo/opt/demo/bin/demo; chmod 755 demo/opt/demo/bin/demo
printf 'level=1\n' > demo/etc/demo/demo.conf
printf '17 3 * * * root [ -x /opt/demo/bin/demo ] && /opt/demo/bin/demo >/dev/null\n' > demo/etc/cron.d/demo
printf '[Service]\nExecStart=/opt/demo/bin/demo\n' > demo/etc/systemd/system/demo.service
rmdir demo/usr-local-demo demo/lib-demo
dpkg-deb --root-owner-group -b demo demo.deb
dpkg --force-script-chrootless -i demo.deb
/opt/demo/bin/demo
dpkg -l demo | tail -n 1
dpkg -P demo
