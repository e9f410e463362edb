# work.mk - corelane-sim: whole scenes in the simulated world (docs/testing.md)

SIM_PROG := $(patsubst %.c,$(B)/%.o,$(sort $(wildcard tests/sim/*.c)))

$(B)/corelane-sim: $(SIM_PROG) $$(call simarch,mpio)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) $(SIM_LDFLAGS) -o $@ $^ $(LIBS)

# The oracle knows nothing of the world.
$(B)/unit/sim/test_history: $(B)/tests/unit/sim/test_history.o $(patsubst %.c,$(B)/%.o,$(sort $(wildcard tests/sim/history*.c)))
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka

#: make sim            simulation: SEEDS=2000, FROM=1, JOBS=2; a failure names the command that replays it
SEEDS ?= 2000
FROM  ?= 1
JOBS  ?= $(shell nproc)
sim: deps-build
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) $(B)/corelane-sim
	$(B)/corelane-sim --seeds $(SEEDS) --from $(FROM) --jobs $(JOBS) --table
.PHONY: sim

# Planted bugs: tests/sim/mutants/NAME.patch, applied to copies of the sources it names. They stand before the
# archives on the command line, so the linker does not look for what they define in there.
MUTANTS := $(patsubst tests/sim/mutants/%.patch,$(B)/mutants/%/corelane-sim,$(sort $(wildcard tests/sim/mutants/*.patch)))

$(B)/mutants/%/corelane-sim: tests/sim/mutants/%.patch $(B)/corelane-sim
	$(call say,PLANT,$*)
	@rm -rf $(@D); mkdir -p $(@D)
	$(Q)for f in $$(sed -n 's|^+++ b/||p' $<); do cp --parents $$f $(@D) || exit 1; done
	$(Q)sed '/^#/d' $< | patch -s -p1 -d $(@D)
	$(Q)for f in $$(sed -n 's|^+++ b/||p' $<); do \
	    $(CC) $(filter-out -MMD -MP,$(CPPFLAGS)) $(ALLFLAGS) -I$$(dirname $$f) -c -o $(@D)/$$(basename $$f .c).o $(@D)/$$f || exit 1; done
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) $(SIM_LDFLAGS) -o $@ $(@D)/*.o $(SIM_PROG) $(call simarch,mpio) $(LIBS)

#: make sim-mutants    planted bugs that the simulation must find
mutants: $(MUTANTS)
# What `make check` runs of it
sim-tests: $(B)/corelane-sim $(if $(SAN),,$(MUTANTS))
sim-mutants: deps
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) mutants
	$(Q)BUILD=$(B) tests/sim/mutants.sh
.PHONY: mutants sim-mutants sim-tests
