# fuzz.mk - the fuzzers: fuzz_NAME.c here is one, its inputs are corpus/NAME (found), cases/NAME (made by
# hand: what coverage alone would not keep) and crashes/NAME (mended)
#
# Built plainly, $(B)/fuzz/fuzz_NAME runs the inputs it is given, and `make check` gives it those folders.
# LIBFUZZER=1 links libFuzzer instead, with both sanitizers; COV=1 counts lines. Both need clang and a build folder of
# their own, so people call the targets at the end, which see to it.
#
# For fuzzers elsewhere: add the name to FUZZERS and say how $(B)/fuzz/fuzz_NAME is linked, with $(FUZZ_MAIN) last.

FUZZ_B  := build-fuzz
COV_B   := build-cov
# Those that need a reactor, and get the simulated one
FUZZ_SIM    := $(filter cdb,$(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_PURE   := $(filter-out $(FUZZ_SIM),$(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c))))
FUZZERS     += $(FUZZ_PURE) $(FUZZ_SIM)

ifneq ($(LIBFUZZER),)
FUZZ_SAN  := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# Without traced comparisons, which are as dear as the rest together: what is compared with is in dict/ and cases/
SANFLAGS  := -fsanitize=fuzzer-no-link -fno-sanitize-coverage=trace-cmp $(FUZZ_SAN)
FUZZ_MAIN := -fsanitize=fuzzer
# The simulated world is not what is fuzzed: a new path through it makes no input worth keeping
$(filter $(B)/reactor/sim/%,$(SIM_OBJS)): SANFLAGS := $(FUZZ_SAN)
else
FUZZ_MAIN := $(B)/tests/fuzz/replay.o
endif
ifneq ($(COV),)
SANFLAGS  := -fprofile-instr-generate -fcoverage-mapping
endif

# $(call fuzz_link,more flags): the recipe
define fuzz_link
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) $(1) -o $@ $(filter %.o %.a,$^) $(filter -%,$(FUZZ_MAIN)) $(LIBS)
endef

$(FUZZ_PURE:%=$(B)/fuzz/fuzz_%): $(B)/fuzz/%: $(B)/tests/fuzz/%.o $$(call arch,$$(call down,mpio)) \
    $$(filter $(B)/$$(any),$$(FUZZ_MAIN))
	$(call fuzz_link)

$(FUZZ_SIM:%=$(B)/fuzz/fuzz_%): $(B)/fuzz/%: $(B)/tests/fuzz/%.o $$(call simarch,target) \
    $$(filter $(B)/$$(any),$$(FUZZ_MAIN))
	$(call fuzz_link,$(SIM_LDFLAGS))

fuzzers: $$(addprefix $(B)/fuzz/fuzz_,$$(FUZZERS))

#: make fuzz           runs the fuzzers: TIME=seconds or RUNS=number for each, ONLY=name for one of them
#: make fuzz-merge     what they found, minimised, into tests/fuzz/corpus
#: make coverage       which lines of the protocol code the corpora reach

fuzz: deps-fuzz
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) B=$(FUZZ_B) CC=clang LIBFUZZER=1 fuzzers
	$(Q)BUILD=$(FUZZ_B) tests/fuzz/run.sh fuzz "$(ONLY)" "$(TIME)" "$(RUNS)" $(FUZZERS)

fuzz-merge: deps-fuzz
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) B=$(FUZZ_B) CC=clang LIBFUZZER=1 fuzzers
	$(Q)BUILD=$(FUZZ_B) tests/fuzz/run.sh merge "$(ONLY)" "" "" $(FUZZERS)

coverage: deps-fuzz
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) B=$(COV_B) CC=clang COV=1 OPT='-O1 -g' fuzzers
	$(Q)BUILD=$(COV_B) tests/fuzz/coverage.sh $(FUZZERS)

deps-fuzz:
	$(Q)packaging/deps.sh build fuzz

.PHONY: fuzzers fuzz fuzz-merge coverage deps-fuzz
