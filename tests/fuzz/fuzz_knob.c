/*
 * fuzz_knob.c - what says how the kernel's own sessions are steered: CPU sets, names and values of settings, events
 *
 * Input: which parser, and the text. What is taken can be written, and read again as the same; no name is taken that is none
 * of the kernel's settings we know.
 */
#include <stdlib.h>

#include "balancer/kern_events.h"
#include "balancer/knob.h"
#include "balancer/mask.h"
#include "tests/fuzz/fuzz.h"

static void mask_check(const struct bal_mask *m)
{
    char text[BAL_MASK_TEXT_MAX], list[BAL_MASK_CPUS * 6], small[16];
    struct bal_mask again;
    unsigned n = 0;

    for (int cpu = bal_mask_next(m, 0); cpu >= 0; cpu = bal_mask_next(m, cpu + 1))
        n += bal_mask_has(m, cpu);
    fuzz_check(n == bal_mask_count(m));
    bal_mask_format(m, text);
    fuzz_check(!bal_mask_parse(&again, text) && bal_mask_equal(m, &again));
    bal_mask_format_list(m, list, sizeof(list));
    if (n)
        fuzz_check(!bal_mask_parse_list(&again, list) && bal_mask_equal(m, &again));
    bal_mask_format_list(m, small, sizeof(small));
    fuzz_check(strlen(small) < sizeof(small));
}

static void mask_try(const char *text, int (*parse)(struct bal_mask *, const char *))
{
    struct bal_mask m, before;

    memset(&m, 0x5a, sizeof(m));
    before = m;
    if (parse(&m, text))
        fuzz_check(bal_mask_equal(&m, &before));
    else
        mask_check(&m);
}

static void name_try(const char *text)
{
    const int kind = bal_knob_of(text);
    struct bal_flow f;

    if (kind < 0)
        return;
    fuzz_check(!strstr(text, ".."));
    fuzz_check(!strncmp(text, "sys/devices/virtual/workqueue/iscsi_q_", 38) ||
               !strncmp(text, "sys/class/net/", 14) || !strcmp(text, BAL_KNOB_RECV_PATH) ||
               !strncmp(text, "flow/", 5));
    if (kind == BAL_KNOB_FLOW) {
        fuzz_check(!bal_flow_parse(&f, text) && bal_ifname_valid(f.ifname) && f.src_port);
    }
}

static void value_try(const char *text)
{
    for (int kind = 0; kind < BAL_KNOBS; kind++) {
        const bool valid = bal_knob_valid((enum bal_knob)kind, text);

        fuzz_check(bal_knob_same((enum bal_knob)kind, text, text) == valid);
        fuzz_check(!valid || !strpbrk(text, ";|&$`/"));
    }
}

static void event_try(const uint8_t *data, size_t len)
{
    struct bal_kern_event ev;

    if (!bal_kern_event_parse(&ev, data, len))
        fuzz_check(len >= 48 && ev.what <= BAL_KERN_LOST);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text;
    void *bytes;

    if (len < 2)
        return 0;
    text = fuzz_string(data + 1, len - 1);
    switch (*data % 5) {
    case 0: mask_try(text, bal_mask_parse); break;
    case 1: mask_try(text, bal_mask_parse_list); break;
    case 2: name_try(text); break;
    case 3: value_try(text); break;
    case 4:
        bytes = fuzz_copy(data + 1, len - 1);
        event_try(bytes, len - 1);
        free(bytes);
        break;
    }
    free(text);
    return 0;
}
