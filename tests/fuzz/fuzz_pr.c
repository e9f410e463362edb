/*
 * fuzz_pr.c - who is registered: TransportIDs, and the file that keeps persistent reservations
 *
 * Input: which of them, and its bytes. What is taken can be written, and read again as the same.
 */
#include "iscsi/name.h"
#include "target/lun_internal.h"
#include "tests/fuzz/fuzz.h"

static bool reg_same(const struct lun_reg *a, const struct lun_reg *b)
{
    return !strcmp(a->initiator, b->initiator) && !strcmp(a->target, b->target) && a->key == b->key &&
           !memcmp(a->isid, b->isid, sizeof(a->isid)) && a->tpgt == b->tpgt && a->rel_port == b->rel_port &&
           a->any_isid == b->any_isid && a->any_port == b->any_port;
}

static void state_same(const struct lun_view *a, const struct lun_view *b)
{
    fuzz_check(a->regs_nr == b->regs_nr && a->pr_type == b->pr_type && a->pr_holder == b->pr_holder &&
               a->aptpl == b->aptpl);
    for (unsigned i = 0; i < a->regs_nr; i++)
        fuzz_check(reg_same(&a->regs[i], &b->regs[i]));
}

/* What a unit would have after a restart. */
static void state_keep(const struct lun_view *v, struct lun_view *again)
{
    char *text = pr_state_text(v);

    fuzz_check(text);
    memset(again, 0, offsetof(struct lun_view, regs));
    again->pr_holder = -1;
    fuzz_check(!pr_state_parse(again, text, strlen(text)));
    state_same(v, again);
    free(text);
}

static void tid_try(const uint8_t *data, size_t len)
{
    static struct lun_view view, kept;      /* large, and nothing of them outlives an input */
    struct lun_reg r = { .key = 7, .tpgt = 1, .rel_port = 1, .target = "iqn.2026-11.org.example:disk" }, again = r;
    const struct lun_reg before = r;
    const uint8_t *exact = fuzz_copy(data, len);
    char norm[ISCSI_NAME_LEN_MAX + 1];
    uint8_t wire[PR_TID_MAX];
    uint32_t n;

    n = pr_tid_decode(&r, exact, (uint32_t)len);
    fuzz_check(n <= len && n <= PR_TID_MAX && n % 4 == 0);
    if (!n) {
        fuzz_check(reg_same(&r, &before));
    } else {
        fuzz_check(!iscsi_name_refusal(r.initiator, norm) && !strcmp(norm, r.initiator));
        n = pr_tid_encode(wire, &r);
        fuzz_check(n <= sizeof(wire) && pr_tid_decode(&again, wire, n) == n && reg_same(&r, &again));
        view.regs[0] = r;
        view.regs_nr = 1;
        view.pr_type = PR_WRITE_EXCLUSIVE;
        view.pr_holder = 0;
        view.aptpl = true;
        state_keep(&view, &kept);
    }
    free((void *)exact);
}

static void state_try(const uint8_t *data, size_t len)
{
    static struct lun_view v, kept;

    memset(&v, 0, offsetof(struct lun_view, regs));
    v.pr_holder = -1;
    if (pr_state_parse(&v, (const char *)data, len))
        return;
    fuzz_check(v.regs_nr <= LUN_REGS_MAX && (!v.pr_type || (pr_type_ok(v.pr_type) && v.regs_nr)));
    fuzz_check(v.pr_holder >= -1 && v.pr_holder < (int)v.regs_nr);
    state_keep(&v, &kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = { data, size };

    if (fuzz_u8(&in) & 1)
        state_try(in.at, in.left);
    else
        tid_try(in.at, in.left);
    return 0;
}
