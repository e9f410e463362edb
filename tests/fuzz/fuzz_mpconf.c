/*
 * fuzz_mpconf.c - /etc/multipath.conf
 *
 * Input: its text. What was taken says the same of a unit each time, and nothing that the selectors could not do with;
 * what was refused comes with a reason. Remarks are bounded.
 */
#include <errno.h>

#include "mpio/mpconf.h"
#include "tests/fuzz/fuzz.h"

static unsigned remarks;

static void say(void *user, bool bad, const char *remark)
{
    fuzz_check(!strncmp(remark, "m.conf", 6) && strlen(remark) < 400);
    for (const char *c = remark; *c; c++)
        fuzz_check(*c >= ' ' && *c < 0x7f);
    remarks++;
}

static void conf_check(const struct mpio_conf *c)
{
    fuzz_check((unsigned)c->policy < MPIO_POLICIES && c->scope <= MPIO_SCOPE_LUN && c->unit <= MPIO_UNIT_BYTES);
    fuzz_check(c->grouping <= MPIO_GROUP_BY_TPG && c->failback <= MPIO_FAILBACK_MANUAL);
    fuzz_check(c->no_path <= MPIO_NO_PATH_FAIL && c->no_path_s && c->rr_min_io && c->suspect_ms);
    fuzz_check(c->marginal_fails && c->marginal_window_s && c->marginal_hold_s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct mpio_whose whose[] = {
        { "36001405aaaa", "CORELANE", "RAM", "0001" },
        { "", "", "", "" },
    };
    const struct mpio_mpconf_say to = { say, NULL };
    struct mpio_mpconf *f = NULL;
    int err;

    remarks = 0;
    err = mpio_mpconf_parse(&f, (const char *)data, size, "m.conf", &to);
    fuzz_check(remarks <= 65);
    if (err) {
        fuzz_check((err == -EINVAL || err == -E2BIG) && remarks && !f);
        return 0;
    }
    for (size_t i = 0; i < sizeof(whose) / sizeof(whose[0]); i++) {
        struct mpio_mpset set = { .conf = { .no_path_s = 120,
                                            .rr_min_io = 1,
                                            .suspect_ms = 400,
                                            .marginal_fails = 3,
                                            .marginal_window_s = 60,
                                            .marginal_hold_s = 300 } };
        struct mpio_mpset again = set;
        char why[256];

        mpio_mpconf_for(f, &whose[i], &set);
        mpio_mpconf_for(f, &whose[i], &again);
        conf_check(&set.conf);
        fuzz_check(!memcmp(&set, &again, sizeof(set)) && memchr(set.alias, '\0', sizeof(set.alias)));
        fuzz_check(!set.has_pr_key == !set.pr_key);
        memset(why, 0xa5, sizeof(why));
        if (mpio_mpconf_blacklisted(f, &whose[i], why))
            fuzz_check(memchr(why, '\0', sizeof(why)) && strstr(why, "line"));
    }
    mpio_mpconf_free(f);
    return 0;
}
