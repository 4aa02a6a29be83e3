# A small C project is configured, built in parallel, tested and installed.
set -eu
mkdir -p /home/dev/project && cd /home/dev/project
for unit in list tree hash; do
  printf '#include "demo.h"\nint %s_size(int n) { return n * 2; }\n' $unit > $unit.c
done
printf 'int list_size(int); int tree_size(int); int hash_size(int);\n' > demo.h
printf '#include <stdio.h>\n#include "demo.h"\nint main(void) { printf("%%d\\n", list_size(1) + tree_size(2) + hash_size(3)); return 0; }\n' > main.c
printf 'OBJ = list.o tree.o hash.o main.o\ndemo: $(OBJ)\n\tcc -o $@ $(OBJ)\n%%.o: %%.c demo.h\n\tcc -O2 -Wall -c $< -o $@\ncheck: demo\n\t./demo | grep -q 12\ninstall: demo\n\tinstall -D -m 755 demo $(DESTDIR)/usr/bin/demo\nclean:\n\trm -f $(OBJ) demo\n' > Makefile
make -j2 demo
make check
make install DESTDIR=/home/dev/stage
strip /home/dev/stage/usr/bin/demo
tar -C /home/dev/stage -czf /home/dev/demo-1.0.tar.gz .
make clean
