/*
 * fuzz_layout.c - layout files
 *
 * Input: the text. What is read can be written, and reads the same then; what is refused is named with its line.
 */
#include <errno.h>

#include "balancer/layout.h"
#include "tests/fuzz/fuzz.h"

static void seats_check(const struct bal_layout *l)
{
    fuzz_check(l->seats_nr <= BAL_LAYOUT_SEATS_MAX && l->budget <= BAL_BUDGET_MAX);
    for (unsigned i = 0; i < l->seats_nr; i++) {
        const struct bal_seat *s = &l->seats[i];

        fuzz_check(*s->target && memchr(s->target, '\0', sizeof(s->target)) && s->cpu >= 0 && s->line);
        fuzz_check(s->index <= BAL_INDEX_MAX && *s->portal.host && !s->portal.tpgt);
        fuzz_check(bal_layout_find(l, s->target, &s->portal, s->index) == s); /* nobody has two */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *bytes = fuzz_copy(data, size), why[BAL_TEXT_MAX], *text, *again;
    struct bal_layout l, twice;
    int err;

    memset(&l, 0xa5, sizeof(l));
    memset(why, 0xa5, sizeof(why));
    twice = l;
    err = bal_layout_parse(&l, bytes, size, "file", why);
    free(bytes);
    if (err) {
        fuzz_check(err == -EINVAL && memchr(why, '\0', sizeof(why)) && !strncmp(why, "file:", 5));
        fuzz_check(!memcmp(&l, &twice, sizeof(l)));
        return 0;
    }
    seats_check(&l);
    text = bal_layout_text(&l);
    fuzz_check(text && !bal_layout_parse(&twice, text, strlen(text), "file", why));
    fuzz_check(twice.seats_nr == l.seats_nr && twice.has_policy == l.has_policy);
    again = bal_layout_text(&twice);
    fuzz_check(again && !strcmp(text, again));
    free(again);
    free(text);
    bal_layout_free(&twice);
    bal_layout_free(&l);
    return 0;
}
