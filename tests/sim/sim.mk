# sim.mk - linking with the simulated world: reactor/sim in place of reactor/uring
#
#   $(call simarch,ROOM)    the archives of the rooms from ROOM down, on the simulated reactor; a prerequisite
#   $(sim_link)             the recipe; says what it links with at the end: $(sim_link) -lcmocka
#   $(SIM_LDFLAGS)          in it: books what a program allocates, the linker sends calls to reactor/sim/mem.c
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

define sim_link
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) $(SIM_LDFLAGS) -o $@ $^ $(LIBS)
endef

$(B)/unit/sim/%: $(B)/tests/unit/sim/%.o $$(call simarch,mpio)
	$(sim_link) -lcmocka

# Tests of the reactor that ask for no kernel, on the simulated one
SIM_AGAIN := timer pool
TESTS     += $(SIM_AGAIN:%=$(B)/unit/sim/test_again_%)
$(SIM_AGAIN:%=$(B)/unit/sim/test_again_%): $(B)/unit/sim/test_again_%: $(B)/tests/unit/reactor/test_%.o \
        $(B)/tests/unit/sim/stage.o $(B)/reactor-sim.a
	$(sim_link) -lcmocka
