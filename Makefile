# genrun: see README.md. Variables: SAN=address,undefined  CC=clang  DESTDIR= PREFIX=/usr/local
VERSION := $(shell sed -n 's/.*GENRUN_VERSION "\(.*\)"/\1/p' include/genrun.h)
CC      ?= gcc
SAN     ?=
PREFIX  ?= /usr/local

PACKAGES := sqlite3 libcurl libcjson inih
VARIANT  := $(if $(SAN),san,release)$(if $(filter clang%,$(CC)),-clang)
BUILD    := build/$(VARIANT)

WARN     := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wvla -Wformat=2 $(if $(CI),-Werror)
HARDEN   := $(if $(SAN),,-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fPIE
OPT      := $(if $(SAN),-O1 -g -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all,-O2 -g)
CFLAGS   += -std=c11 -D_GNU_SOURCE $(WARN) $(OPT) $(HARDEN) -Isrc -Iinclude $(shell pkg-config --cflags $(PACKAGES))
LDFLAGS  += -pie -Wl,-z,relro,-z,now $(if $(SAN),-fsanitize=$(SAN))
LDLIBS   += $(shell pkg-config --libs $(PACKAGES)) -lpthread

LIB_SRC  := $(wildcard src/base/*.c src/db/*.c src/loop/*.c src/queue/*.c src/provider/*.c src/run/*.c src/batch/*.c src/lib/*.c)
PROG_SRC := $(wildcard src/*.c src/cli/*.c)
UNIT_SRC := $(wildcard tests/unit/*.c)
LIB_OBJ  := $(LIB_SRC:src/%.c=$(BUILD)/%.o) $(if $(wildcard schema/*.sql),$(BUILD)/schema_embed.o)
PROG_OBJ := $(PROG_SRC:src/%.c=$(BUILD)/%.o)
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/tests/%)

.PHONY: all check check-fast clean
all: $(BUILD)/libgenrun.a $(if $(PROG_SRC),build/genrun)

build/genrun: $(BUILD)/genrun
	@ln -sfn $(VARIANT)/genrun $@
$(BUILD)/genrun: $(PROG_OBJ) $(BUILD)/libgenrun.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(BUILD)/libgenrun.a: $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^
$(BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/tests/%: tests/unit/%.c $(BUILD)/libgenrun.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -Itests -MMD -MP $(LDFLAGS) -o $@ $< $(BUILD)/libgenrun.a $(LDLIBS) -lcmocka

# The schema's files become arrays of C strings.
$(BUILD)/schema_embed.c: $(sort $(wildcard schema/*.sql)) Makefile
	@mkdir -p $(@D)
	@{ echo '#include "db/migrate.h"'; echo 'const struct migration migration_list[] = {'; \
	for f in $(sort $(wildcard schema/*.sql)); do \
	  echo "{\"$$(basename $$f)\","; sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/.*/"&\\n"/' $$f; echo '},'; done; \
	echo '{0, 0}};'; } > $@
$(BUILD)/schema_embed.o: $(BUILD)/schema_embed.c
	$(CC) $(CFLAGS) -Wno-overlength-strings -MMD -MP -c -o $@ $<

check-fast: all $(UNIT_BIN)
	CMOCKA_MESSAGE_OUTPUT=TAP prove -j2 -e '' $(UNIT_BIN)
check: check-fast

clean:
	rm -rf build

-include $(shell find build -name '*.d' 2>/dev/null)
