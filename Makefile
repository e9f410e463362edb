# Corelane. `make help` lists what there is; V=1 shows commands; SAN=1 builds with ASan and UBSan; B=DIR builds
# elsewhere. Sources and tests are found by wildcard; rooms are listed from the ground up, and a room or a test
# is linked with the rooms below it only.

ROOMS    := reactor scsi rpc iscsi loopback balancer initiator target mpio lib export manager
PROGRAMS := corelane corelaned corelane-targetd

, := ,
any := %
SAN      ?=
B        ?= build$(if $(SAN),-san)
CC       ?= cc
prefix   ?= /usr/local
DESTDIR  ?=

PKGS     := liburing libnl-3.0 libnl-genl-3.0 hwloc libisal libcrypto jansson fuse3 libsystemd
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings \
            -Wvla -Wformat=2 -Wundef -Wno-unused-parameter
OPT      ?= -O2 -g
SANFLAGS := $(if $(SAN),-fsanitize=address$(,)undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
CPPFLAGS += -D_GNU_SOURCE -I. -Iinclude -MMD -MP
ALLFLAGS  = -std=gnu17 $(OPT) $(WARN) $(SANFLAGS) -fno-strict-aliasing -pthread \
            $(shell pkg-config --cflags $(PKGS)) $(CFLAGS)
LIBS      = $(shell pkg-config --libs $(PKGS)) -pthread -lm

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

# reactor/sim is a second backend of the reactor (tests/sim/sim.mk): in no program
objs = $(patsubst %.c,$(B)/%.o,$(sort $(filter-out reactor/sim/$(any),$(wildcard $(1)/*.c $(1)/*/*.c))))
# $(call upto,room): the rooms from that one down, in link order
down = $(shell echo $(ROOMS) | tr ' ' '\n' | sed '/^$(1)$$/q' | tac)
arch = $(foreach r,$(1),$(if $(call objs,$(r)),$(B)/$(r).a))

TESTS := $(patsubst tests/unit/%.c,$(B)/unit/%,$(sort $(wildcard tests/unit/*/test_*.c)))

all: $(PROGRAMS:%=$(B)/%)

$(B)/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(ALLFLAGS) -c -o $@ $<

define room_rule
$(B)/$(1).a: $(call objs,$(1))
	$$(call say,AR,$$@)
	@mkdir -p $$(@D); rm -f $$@
	$$(Q)ar rcs $$@ $$^
endef
$(foreach r,$(ROOMS),$(eval $(call room_rule,$(r))))

.SECONDEXPANSION:
$(B)/unit/%: $(B)/tests/unit/%.o $$(call arch,$$(call down,$$(firstword $$(subst /, ,$$*))))
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka

include tests/sim/sim.mk tests/sim/work.mk tests/proxy/proxy.mk

# Programs in which allocations fail in turn: tests/unit/fail.h stands in for the allocators
FAIL_WRAP := $(foreach f,malloc calloc realloc aligned_alloc posix_memalign strdup strndup free rt_mem_alloc rt_mem_free,-Wl$(,)--wrap=$(f))
$(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/*/test_fail_*.c)): LDFLAGS += $(FAIL_WRAP)

# and in which operations do: tests/unit/failop.h
FAILOP_WRAP := $(foreach f,file_read file_write file_sync file_falloc recv recv_shared send accept connect,-Wl$(,)--wrap=rt_$(f))
$(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/*/test_failop_*.c)): LDFLAGS += $(FAILOP_WRAP)

# where the test says when a session has moved
$(B)/unit/manager/test_move $(B)/unit/manager/test_rebalance: LDFLAGS += -Wl,--wrap=mpio_nexus_move
$(B)/unit/manager/test_rebalance: LDFLAGS += -Wl,--wrap=bal_load_core

# `make unit-ROOM` builds and runs one room's unit tests
unit-%: $$(filter $(B)/unit/$$*/$$(any),$(TESTS))
	$(Q)for t in $^; do echo "== $$t"; $$t || exit 1; done

# A program is its folder and what the programs share, over all rooms
$(PROGRAMS:%=$(B)/%): $(B)/%: $$(call objs,programs/$$*) $$(call objs,programs/common) $$(call arch,$$(call down,manager))
	$(call say,LD,$@)
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# ---- what people run ----

help:
	@sed -n 's/^#: //p' $(filter-out %.d,$(MAKEFILE_LIST))

#: make                build the three programs and libcorelane into build/
#: make demo           install what it needs, build, and attach a real LUN as a disk
#: make check          all tests on this machine; KERNEL=uml adds those in a User-Mode Linux kernel
#: make check SAN=1    the same with AddressSanitizer and UndefinedBehaviorSanitizer
#: make check-kernel   the tests in real kernels: User-Mode Linux, and QEMU for ublk
#: make conformance    libiscsi's iscsi-test-cu against our target
#: make kill-test      kill -9 of target and initiator under verified load, CYCLES=200 times each
#: make bench          measurements, side by side with tgt, libiscsi and fio; ONLY='lqd failover': parts of tcp loop lqd
#:                     failover moves scale
#: make lint           clang-tidy, cppcheck, shellcheck
#: make format         clang-format over the lines changed since the last commit (BASE=REV: since then)
#: make install        DESTDIR and prefix are honoured
#: make deps           the Debian packages that building and testing need

deps:
	$(Q)packaging/deps.sh build test

demo: deps-build
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all
	$(Q)BUILD=$(B) tests/e2e/demo.sh

# What tests in kernels run beside the programs: each export alone, with a disk in memory; and what presses for memory
PROBE := $(B)/unit/export/exp_probe $(B)/unit/export/exp_pressure

check: deps
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all tests fuzzers sim-tests $(PROBE)
	$(Q)BUILD=$(B) SAN=$(SAN) KERNEL=$(KERNEL) tests/run.sh $(ONLY)

check-kernel: deps
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all $(PROBE)
	$(Q)BUILD=$(B) tests/kernel/run.sh

conformance: deps
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all
	$(Q)BUILD=$(B) tests/conformance/run.sh

bench: deps-build
	$(Q)packaging/deps.sh bench
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all $(PROXY) $(addprefix $(B)/bench_,ring mem loop failover moves)
	$(Q)BUILD=$(B) bench/run.sh $(ONLY)

deps-build:
	$(Q)packaging/deps.sh build

tests: $(TESTS)

# bench/bench_failover.c is a user's program, over libcorelane; bench_moves.c has sessions and disks in its hands
$(B)/bench_failover $(B)/bench_moves: $(B)/bench_%: $(B)/bench/bench_%.o $(call arch,$(call down,lib))
	$(call say,LD,$@)
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# bench/bench_ROOM_x.c: what measures one room alone, linked with the rooms up to loopback
$(B)/bench_%: $(B)/bench/bench_%.o $$(call arch,$$(call down,loopback))
	$(call say,LD,$@)
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

lint:
	$(Q)packaging/deps.sh build test lint
	$(Q)CFLAGS="$(ALLFLAGS) $(CPPFLAGS)" tests/lint.sh

format:
	$(Q)packaging/deps.sh lint
	git clang-format --extensions c,h $(BASE)

# ---- libcorelane: the rooms up to lib, as one archive and one shared object ----

LIBROOMS := $(call down,lib)
SOVER    := 0
$(B)/libcorelane.a: $(foreach r,$(LIBROOMS),$(call objs,$(r)))
	$(call say,AR,$@)
	@rm -f $@
	$(Q)ar rcs $@ $^

all: $(B)/libcorelane.a

install: all
	install -d $(DESTDIR)$(prefix)/bin $(DESTDIR)$(prefix)/sbin $(DESTDIR)$(prefix)/lib $(DESTDIR)$(prefix)/include \
	    $(DESTDIR)$(prefix)/share/man/man1 $(DESTDIR)$(prefix)/share/man/man8 $(DESTDIR)$(prefix)/share/doc/corelane \
	    $(DESTDIR)$(prefix)/lib/systemd/system $(DESTDIR)$(prefix)/lib/pkgconfig
	install -m 755 $(B)/corelane $(DESTDIR)$(prefix)/bin/
	install -m 755 $(B)/corelaned $(B)/corelane-targetd $(DESTDIR)$(prefix)/sbin/
	install -m 644 $(B)/libcorelane.a $(DESTDIR)$(prefix)/lib/
	install -m 644 include/corelane.h $(DESTDIR)$(prefix)/include/
	sed -e 's|@prefix@|$(prefix)|' packaging/corelane.pc.in >$(DESTDIR)$(prefix)/lib/pkgconfig/corelane.pc
	install -m 644 man/*.1 $(DESTDIR)$(prefix)/share/man/man1/
	install -m 644 man/*.8 $(DESTDIR)$(prefix)/share/man/man8/
	for u in packaging/systemd/*.service; do \
	    sed -e 's|/usr/\(s\{0,1\}bin\)/|$(prefix)/\1/|' "$$u" >$(DESTDIR)$(prefix)/lib/systemd/system/$${u##*/} || exit 1; done
	install -m 644 README.md LICENSE docs/*.md $(DESTDIR)$(prefix)/share/doc/corelane/

clean:
	rm -rf $(B)

include tests/fuzz/fuzz.mk
include tests/fuzz/sim/sim-fuzz.mk

-include $(shell find $(B) -name '*.d' 2>/dev/null)
.PHONY: all help deps deps-build demo check check-kernel conformance bench tests lint format install clean
.SECONDARY:
