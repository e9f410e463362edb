# sim-fuzz.mk - the fuzzers of whole sessions, which run in the simulated world: fuzz_NAME.c here is one
#
# What they share (peers, foes, tenants, the mutators) is an archive, so that each takes what it needs.

SIM_FUZZERS := $(patsubst tests/fuzz/sim/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/sim/fuzz_*.c)))
SIM_SHARED  := $(patsubst %.c,$(B)/%.o,$(filter-out tests/fuzz/sim/fuzz_%,$(sort $(wildcard tests/fuzz/sim/*.c))))
FUZZERS     += $(SIM_FUZZERS)

# What is to be explored is the daemons' code: a new path through a peer makes no input worth keeping
ifneq ($(LIBFUZZER),)
$(SIM_SHARED) $(SIM_FUZZERS:%=$(B)/tests/fuzz/sim/fuzz_%.o): SANFLAGS := $(FUZZ_SAN)
endif

$(B)/fuzz-sim.a: $(SIM_SHARED)
	$(call say,AR,$@)
	@mkdir -p $(@D); rm -f $@
	$(Q)ar rcs $@ $^

$(SIM_FUZZERS:%=$(B)/fuzz/fuzz_%): $(B)/fuzz/%: $(B)/tests/fuzz/sim/%.o $(B)/fuzz-sim.a $$(call simarch,target) \
    $$(filter $(B)/$$(any),$$(FUZZ_MAIN))
	$(call fuzz_link,$(SIM_LDFLAGS))
