# genrun. The targets are listed by `make help`; README.md says more.
#   SAN=address,undefined  build with sanitizers     CC=clang     another compiler
#   PREFIX=/usr/local DESTDIR=                       where `make install` puts things
#   CI=true                warnings are errors       CFLAGS, CPPFLAGS, LDFLAGS are added to ours
#   V=1                    show the commands
# Each variant has a build folder of its own; build/genrun is the release program built last.

# The two commands of the README must work before a compiler or pkg-config is there, also in one go
# (`make deps check`). So whatever asks a tool is asked on first use, which is in a recipe, and kept.
ask = $(eval $1 := $(shell $2))$($1)

ifeq ($(origin CC),default)
CC := gcc
endif
SAN     ?=
PREFIX  ?= /usr/local
CFLAGS  ?= $(if $(SAN),-O1,-O2) -g
VERSION := $(shell sed -n 's/.*GENRUN_VERSION "\(.*\)"/\1/p' include/genrun.h)

Q        := $(if $(V),,@)
say       = @$(if $(findstring s,$(firstword -$(MAKEFLAGS))),:,echo '  $1 $@')
comma    := ,
VARIANT  := $(if $(SAN),san-$(subst $(comma),-,$(SAN)),release)$(if $(findstring clang,$(CC)),-clang)
BUILD    := build/$(VARIANT)
# What the library needs, and what only the program's faces do.
PACKAGES := sqlite3 libcurl libcjson inih libcrypto
FACING   := libmicrohttpd

PKG_CFLAGS = $(call ask,PKG_CFLAGS,pkg-config --cflags $(PACKAGES) $(FACING) $(OPTIONAL))
PKG_LIBS   = $(call ask,PKG_LIBS,pkg-config --libs $(PACKAGES) $(FACING) $(OPTIONAL))
# Taken in where it is there: the sync to Postgres. make OPTIONAL= leaves it out.
OPTIONAL   = $(call ask,OPTIONAL,pkg-config --exists libpq && echo libpq)
HAVE       = $(if $(OPTIONAL),-DHAVE_PG)
# What not every compiler or processor takes.
HARDEN_MORE = $(call ask,HARDEN_MORE,for flag in -fstack-clash-protection -fcf-protection; do \
    $(CC) -Werror $$flag -x c -c -o /dev/null /dev/null 2>/dev/null && echo $$flag; done)

# With sanitizers gcc loses track of ranges and warns of what cannot be.
WARN    := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wvla -Wformat=2 \
    $(if $(CI),$(if $(SAN),,-Werror))
HARDEN   = -fPIE -fstack-protector-strong $(HARDEN_MORE) $(if $(SAN),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
SANITIZE := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
COMPILE  = $(CC) -std=c11 -D_GNU_SOURCE $(WARN) $(HARDEN) $(SANITIZE) $(HAVE) -Isrc -Iinclude $(PKG_CFLAGS) \
    -DVERSION_TEXT=\"$(VERSION)\" $(CPPFLAGS) $(CFLAGS)
LINKING  = -pie -Wl,-z,relro,-z,now $(LDFLAGS)
LIBS     = $(PKG_LIBS) -lpthread -lm

LIB_SRC   := $(wildcard $(addsuffix /*.c,$(addprefix src/,base db loop queue provider run batch sync lib)))
FACE_SRC  := $(wildcard src/cli/*.c src/http/*.c)
TOP_SRC   := $(wildcard src/*.c)
# Everything below src/*.c: the program and the tests link it.
INSIDE    := $(BUILD)/inside.a
LIB_OBJ   := $(LIB_SRC:src/%.c=$(BUILD)/%.o) $(BUILD)/schema_embed.o $(BUILD)/mirror_embed.o
FACE_OBJ  := $(FACE_SRC:src/%.c=$(BUILD)/%.o) $(BUILD)/web_embed.o
WEB       := $(sort $(wildcard src/web/*))
TOP_OBJ   := $(TOP_SRC:src/%.c=$(BUILD)/%.o)
UNIT_BIN  := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/*.c))
BENCH_BIN := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c))
FUZZ_BIN  := $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/*.c))
PAGES     := $(BUILD)/man/genrun.1 $(BUILD)/man/genrun.ini.5
# With `make deps …` nothing is compiled before deps has ended, also under -j.
AFTER     := $(filter deps,$(MAKECMDGOALS))

.PHONY: all deps check check-fast demo bench fuzz lint format install uninstall clean help FORCE
.DELETE_ON_ERROR:
all: $(BUILD)/libgenrun.a $(BUILD)/genrun $(PAGES) $(BUILD)/completion/genrun $(if $(SAN),,build/genrun)

help:
	@echo 'make [all]       the program build/genrun and the library $(BUILD)/libgenrun.a'
	@echo 'make deps        install the Debian or Ubuntu packages that building and testing need'
	@echo 'make demo        a batch on the built-in model, killed half-way, and its results'
	@echo 'make check       all tests but the slow ones of .ci/run; check-fast: those that end at once'
	@echo 'make bench       the numbers of this machine beside those to hold'
	@echo 'make fuzz        hostile input, FUZZ_SECONDS=10 a target (clang)'
	@echo 'make lint        formatting and static analysis; make format: rewrite to the format'
	@echo 'make install     to $(DESTDIR)$(PREFIX); make uninstall takes it away'
	@echo 'make clean       remove build/'

deps:
	@sh contrib/deps.sh build test $(if $(findstring clang,$(CC)),clang)

# ---- compiling ------------------------------------------------------------------

build/genrun: $(BUILD)/genrun FORCE
	@[ "$$(readlink $@)" = $(VARIANT)/genrun ] || ln -sfn $(VARIANT)/genrun $@
$(BUILD)/genrun: $(TOP_OBJ) $(INSIDE)
	$(call say,LINK)
	$(Q)$(CC) $(CFLAGS) $(SANITIZE) $(LINKING) -o $@ $^ $(LIBS)
$(INSIDE): $(LIB_OBJ) $(FACE_OBJ) $(BUILD)/members
	$(call say,AR)
	@rm -f $@
	$(Q)ar rcs $@ $(LIB_OBJ) $(FACE_OBJ)
# What hosts link: one object that shows the names of genrun.h and no others, so that it meets none of theirs.
$(BUILD)/libgenrun.a: $(INSIDE)
	$(call say,AR)
	@rm -f $@
	$(Q)$(CC) -r -nostdlib -o $(BUILD)/libgenrun.o $(LIB_OBJ)
	$(Q)objcopy --wildcard --keep-global-symbol='genrun_*' $(BUILD)/libgenrun.o
	$(Q)ar rcs $@ $(BUILD)/libgenrun.o
$(BUILD)/%.o: src/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<
$(BUILD)/tests/%: tests/unit/%.c $(INSIDE) $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(COMPILE) -Itests -MMD -MP $(LINKING) -o $@ $< $(INSIDE) $(LIBS) -lcmocka
$(BUILD)/bench/%: tests/bench/%.c $(INSIDE) $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(COMPILE) -MMD -MP $(LINKING) -o $@ $< $(INSIDE) $(LIBS)

# The program knows best: man pages and completion come from its tables.
$(PAGES): $(BUILD)/genrun
	$(call say,MAN)
	@mkdir -p $(@D)
	$(Q)$< help --man $(@F) >$@
$(BUILD)/completion/genrun: $(BUILD)/genrun
	$(call say,MAKE)
	@mkdir -p $(@D)
	$(Q)$< help --completion bash >$@

# Rewritten only when they change: other flags rebuild everything, a removed file the library.
keep = @mkdir -p $(@D); echo '$1' | cmp -s - $@ || echo '$1' >$@
$(BUILD)/flags: FORCE | $(AFTER)
	$(call keep,$(COMPILE))
$(BUILD)/members: FORCE
	$(call keep,$(LIB_OBJ) $(FACE_OBJ) $(WEB))

# Files become C strings; a question mark is escaped for the sake of trigraphs.
c_string = sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/?/\\?/g' -e 's/.*/"&\\n"/'
# The schema's files become an array of named ones.
$(BUILD)/schema_embed.c: $(sort $(wildcard schema/*.sql)) Makefile
	@mkdir -p $(@D)
	@{ echo '#include "db/migrate.h"'; echo 'const struct migration migration_list[] = {'; \
	for f in $(sort $(wildcard schema/*.sql)); do \
	  echo "{\"$${f##*/}\","; $(c_string) $$f; echo '},'; done; \
	echo '{0, 0}};'; } >$@
# So do those of the mirror in Postgres.
$(BUILD)/mirror_embed.c: $(sort $(wildcard schema/postgres/*.sql)) Makefile
	@mkdir -p $(@D)
	@{ echo '#include "sync/init.h"'; echo 'const struct init_migration init_migrations[] = {'; \
	for f in $(sort $(wildcard schema/postgres/*.sql)); do \
	  echo "{\"$${f##*/}\","; $(c_string) $$f; echo '},'; done; \
	echo '{0, 0}};'; } >$@
# So do those of the dashboard, each with a tag of its content.
$(BUILD)/web_embed.c: $(WEB) $(BUILD)/members Makefile
	@mkdir -p $(@D)
	@{ echo '#include "http/dashboard.h"'; n=0; \
	for f in $(WEB); do n=$$((n + 1)); echo "static const char file_$$n[] ="; $(c_string) $$f; echo ';'; done; \
	echo 'const struct dashboard_file dashboard_files[] = {'; n=0; \
	for f in $(WEB); do n=$$((n + 1)); tag=$$(sha256sum <$$f | cut -c 1-16); \
	  echo "{\"$${f##*/}\", \"\\\"$$tag\\\"\", file_$$n, sizeof file_$$n - 1},"; done; \
	echo '{0, 0, 0, 0}};'; } >$@
$(BUILD)/%_embed.o: $(BUILD)/%_embed.c $(BUILD)/flags
	$(call say,CC)
	$(Q)$(COMPILE) -Wno-overlength-strings -MMD -MP -c -o $@ $<

# ---- testing --------------------------------------------------------------------

# Every test is a program that prints TAP; prove runs four at a time, since most of them wait most of the time. Tests
# that drive the program find it in $GENRUN, so a sanitizer build tests itself. The law reads symbols, which sanitizers
# blur.
LAW   := $(if $(SAN),,$(wildcard tests/law/*.py))
HOUSE := $(if $(SAN),,$(wildcard tests/house/*.py))
# Those that wait the longest come first.
# What is typed as SQL tests the schema, in which no sanitizer looks; what is asked of every command alike runs none of
# their code that the tests of each do not.
CASES := $(filter-out $(if $(SAN),tests/cli/everywhere.py),$(wildcard $(addprefix tests/,scenario/*.py $(if $(SAN),,sql/*.py) \
    crash/short.py http/*.py cli/*.py cases/*.py)))
PROVE  = CC="$(CC)" GENRUN=$(CURDIR)/$(BUILD)/genrun GENRUN_BUILD=$(CURDIR)/$(BUILD) CMOCKA_MESSAGE_OUTPUT=TAP \
    PYTHONDONTWRITEBYTECODE=1 prove -j4 -e ''

check-fast: all $(UNIT_BIN)
	$(Q)$(PROVE) $(LAW) $(UNIT_BIN)
check: all $(UNIT_BIN) $(BUILD)/bench/push
	$(Q)$(PROVE) $(CASES) $(HOUSE) $(LAW) $(UNIT_BIN)

demo: all
	@sh contrib/demo/demo.sh

bench: all $(BENCH_BIN)
	$(Q)GENRUN=$(CURDIR)/$(BUILD)/genrun GENRUN_BUILD=$(CURDIR)/$(BUILD) python3 tests/bench/bench.py

# ---- looking closer -----------------------------------------------------------------

FUZZ_SECONDS ?= 10
FUZZ_LIB     := build/fuzz/inside.a
FUZZ_MADE    := build/san-fuzzer-no-link-address-undefined-clang/inside.a
$(FUZZ_LIB): FORCE | $(AFTER)
	@$(MAKE) -s CC=clang SAN=fuzzer-no-link,address,undefined $(FUZZ_MADE)
	@mkdir -p $(@D); cmp -s $(FUZZ_MADE) $@ || cp $(FUZZ_MADE) $@
build/fuzz/%: tests/fuzz/%.c $(FUZZ_LIB)
	$(call say,CC)
	@mkdir -p $@.corpus
	$(Q)clang -std=c11 -D_GNU_SOURCE $(WARN) -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	  -Isrc -Iinclude $(PKG_CFLAGS) -o $@ $< $(FUZZ_LIB) $(LIBS)
fuzz: $(FUZZ_BIN)
	@for f in $(FUZZ_BIN); do echo "$$f, $(FUZZ_SECONDS) s"; $$f -verbosity=0 -max_total_time=$(FUZZ_SECONDS) \
	  -timeout=5 -artifact_prefix=$$f- $$f.corpus || exit 1; done

FORMATTED := $(wildcard include/*.h src/*.[ch] src/*/*.[ch] tests/*/*.[ch])
lint:
	clang-format --dry-run -Werror $(FORMATTED)
	cppcheck --quiet --std=c11 -D_GNU_SOURCE --enable=warning,portability --inline-suppr --error-exitcode=1 \
	  -Isrc -Iinclude $(LIB_SRC) $(FACE_SRC) $(TOP_SRC)
	shellcheck contrib/*.sh contrib/*/*.sh .ci/run
format:
	clang-format -i $(FORMATTED)

# ---- installing -------------------------------------------------------------------------

HERE      := $(DESTDIR)$(PREFIX)
INSTALLED := bin/genrun lib/libgenrun.a include/genrun.h lib/pkgconfig/genrun.pc share/man/man1/genrun.1 \
    share/man/man5/genrun.ini.5 share/bash-completion/completions/genrun lib/systemd/system/genrun.service \
    $(addprefix share/doc/genrun/,LICENSE examples/genrun.ini examples/local-commands.conf)
install: all
	install -d $(addprefix $(HERE)/,$(sort $(dir $(INSTALLED))))
	install -m 755 $(BUILD)/genrun $(HERE)/bin/genrun
	install -m 644 $(BUILD)/libgenrun.a $(HERE)/lib/libgenrun.a
	install -m 644 include/genrun.h $(HERE)/include/genrun.h
	install -m 644 $(BUILD)/man/genrun.1 $(HERE)/share/man/man1/genrun.1
	install -m 644 $(BUILD)/man/genrun.ini.5 $(HERE)/share/man/man5/genrun.ini.5
	install -m 644 $(BUILD)/completion/genrun $(HERE)/share/bash-completion/completions/genrun
	install -m 644 LICENSE $(HERE)/share/doc/genrun/LICENSE
	install -m 644 genrun.ini contrib/systemd/local-commands.conf $(HERE)/share/doc/genrun/examples
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|' contrib/systemd/genrun.service >$(HERE)/lib/systemd/system/genrun.service
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' \
	  'Name: genrun' 'Description: runs AI generations from one SQLite file and never leaves one stuck' \
	  'Version: $(VERSION)' 'Requires: $(PACKAGES) $(OPTIONAL)' 'Libs: -L$${libdir} -lgenrun -lpthread -lm' \
	  'Cflags: -I$${includedir}' >$(HERE)/lib/pkgconfig/genrun.pc
	chmod 644 $(HERE)/lib/systemd/system/genrun.service $(HERE)/lib/pkgconfig/genrun.pc
uninstall:
	rm -f $(addprefix $(HERE)/,$(INSTALLED))
	-rmdir $(HERE)/share/doc/genrun/examples $(HERE)/share/doc/genrun 2>/dev/null

clean:
	rm -rf build

-include $(wildcard $(addsuffix .d,$(basename $(LIB_OBJ) $(FACE_OBJ) $(TOP_OBJ))) $(addsuffix .d,$(UNIT_BIN) $(BENCH_BIN)))
