# What is there before the night.
set -eu
mkdir -p /etc/cron.daily /var/backups /var/cache/demo /var/lib/demo
for day in 1 2 3; do echo "line $day" > /var/log/app.log.$day; done
for file in a b c d; do echo $file > /var/cache/demo/$file; touch -d '30 days ago' /var/cache/demo/$file; done
seq 1 2000 > /var/log/app.log
printf '#!/bin/sh\nset -e\nfor n in 3 2 1; do [ -e /var/log/app.log.$n ] && mv /var/log/app.log.$n /var/log/app.log.$((n+1)); done\nmv /var/log/app.log /var/log/app.log.1\n: > /var/log/app.log\nchmod 640 /var/log/app.log\ngzip -f /var/log/app.log.2\nfind /var/log -name "app.log.*" -mtime +60 -delete\n' > /etc/cron.daily/logs
printf '#!/bin/sh\nfind /var/cache/demo -type f -mtime +7 -print -delete | wc -l\n' > /etc/cron.daily/cache
printf '#!/bin/sh\nset -e\ncd /etc\ntar -czf /var/backups/etc.tar.gz.new passwd group profile cron.daily\nmv /var/backups/etc.tar.gz.new /var/backups/etc.tar.gz\nchmod 600 /var/backups/etc.tar.gz\nsha256sum /var/backups/etc.tar.gz > /var/backups/etc.tar.gz.sha256\n' > /etc/cron.daily/backup
printf '#!/bin/sh\nfind /etc /var /home -xdev -type f 2>/dev/null | sort > /var/lib/demo/names.new && mv /var/lib/demo/names.new /var/lib/demo/names\n' > /etc/cron.daily/names
chmod 755 /etc/cron.daily/*
