# work.mk - corelane-sim: whole scenes in the simulated world (docs/testing.md)

SIM_PROG := $(patsubst %.c,$(B)/%.o,$(sort $(wildcard tests/sim/*.c)))

$(B)/corelane-sim: $(SIM_PROG) $$(call simarch,mpio)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) $(SIM_LDFLAGS) -o $@ $^ $(LIBS)

# The oracle knows nothing of the world.
$(B)/unit/sim/test_history: $(B)/tests/unit/sim/test_history.o $(B)/tests/sim/history.o $(B)/tests/sim/history_pr.o
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
