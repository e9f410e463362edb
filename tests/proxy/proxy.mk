# The fault proxy: a program of the tests, and unit tests of its parts

PROXY      := $(B)/corelane-faultproxy
PROXY_PARTS = $(filter-out %/main.o,$(call objs,tests/proxy)) $(B)/programs/common/opt.o $(B)/programs/common/text.o

$(PROXY): $(B)/tests/proxy/main.o $(PROXY_PARTS) $(call arch,balancer) $(call arch,reactor)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(B)/unit/proxy/%: $(B)/tests/unit/proxy/%.o $(PROXY_PARTS) $(call arch,balancer) $(call arch,reactor)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka

tests: $(PROXY)

# `make kill-test CYCLES=200`: kill -9 of the target and of corelaned under verified load, with the proxy between; then of
# the target with nothing but shared memory between
CYCLES ?= 200
kill-test: deps
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all $(PROXY)
	$(Q)BUILD=$(B) CYCLES=$(CYCLES) tests/e2e/proxy_kill.sh
	$(Q)BUILD=$(B) CYCLES=$(CYCLES) tests/e2e/killer.sh

.PHONY: kill-test
