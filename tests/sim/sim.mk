# sim.mk - linking with the simulated world: reactor/sim in place of reactor/uring
#
#   $(call simarch,ROOM)    the archives of the rooms from ROOM down, on the simulated reactor; a prerequisite
#   $(SIM_LDFLAGS)          books what a program allocates to it: the linker sends calls to reactor/sim/mem.c
#
# tests/unit/sim/test_x.c is a unit test linked so, with the rooms up to mpio.

SIM_OBJS := $(patsubst %.c,$(B)/%.o,$(sort $(wildcard reactor/*.c reactor/sim/*.c)))

$(B)/reactor-sim.a: $(SIM_OBJS)
	$(call say,AR,$@)
	@mkdir -p $(@D); rm -f $@
	$(Q)ar rcs $@ $^

simarch = $(patsubst $(B)/reactor.a,$(B)/reactor-sim.a,$(call arch,$(call down,$(1))))

SIM_WRAP    := malloc calloc realloc reallocarray free strdup strndup asprintf vasprintf posix_memalign aligned_alloc
SIM_LDFLAGS := $(SIM_WRAP:%=-Wl,--wrap=%)

$(B)/unit/sim/%: $(B)/tests/unit/sim/%.o $$(call simarch,mpio)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) $(SIM_LDFLAGS) -o $@ $^ $(LIBS) -lcmocka
