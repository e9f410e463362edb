/*
 * dev_mode.c - mode pages: what can be set (write cache, sense format, write protection) and what is only said
 *
 * The values live in the view: MODE SENSE reads this core's, MODE SELECT runs on the owner. Nothing is
 * saved: a reset brings the defaults back, and an initiator that asks for saving hears that there is none.
 */
#include <errno.h>
#include <string.h>

#include "reactor/rt_bytes.h"
#include "target/lun_internal.h"

enum { PC_CURRENT = 0, PC_CHANGEABLE = 1, PC_DEFAULT = 2, PC_SAVED = 3 };
enum { PAGE_CACHING = 0x08, PAGE_CONTROL = 0x0a, PAGE_EXCEPTIONS = 0x1c, PAGE_ALL = 0x3f, SUBPAGE_ALL = 0xff };
enum { PAGE_LEN_MAX = 20, WCE = 0x04, D_SENSE = 0x04, SWP = 0x08 };

struct mode {
    bool wce, d_sense, swp;
};

/* Source: SBC-3 r36, "Caching mode page"; SPC-4 r36, "Control mode page" and "Informational Exceptions
 * Control". */
static const struct {
    uint8_t code, len;
    uint8_t fixed[PAGE_LEN_MAX];            /* what never changes */
} pages[] = {
    { PAGE_CACHING, 20, { PAGE_CACHING, 18 } },
    /* TST 001b: a task set for each nexus; QUEUE ALGORITHM MODIFIER 1: reordering is not restricted; TAS */
    { PAGE_CONTROL, 12, { PAGE_CONTROL, 10, 0x20, 0x10, 0, 0x40 } },
    { PAGE_EXCEPTIONS, 12, { PAGE_EXCEPTIONS, 10, 0x08 } },   /* DEXCPT: nothing is predicted */
};

static void page_bits(uint8_t *p, unsigned code, const struct mode *m)
{
    if (code == PAGE_CACHING) {
        p[2] |= m->wce ? WCE : 0;
    } else if (code == PAGE_CONTROL) {
        p[2] |= m->d_sense ? D_SENSE : 0;
        p[4] |= m->swp ? SWP : 0;
    }
}

static struct mode mode_of(const struct lun *lun, const struct lun_view *v, unsigned pc)
{
    switch (pc) {
    case PC_CHANGEABLE: return (struct mode){ lun->cached, true, true };
    case PC_DEFAULT: return (struct mode){ .wce = lun->cached };
    default: return (struct mode){ v->wce, v->d_sense, v->swp };
    }
}

/* Page number @i as MODE SENSE shows it. */
static void page_make(uint8_t out[static PAGE_LEN_MAX], size_t i, const struct lun *lun,
                      const struct lun_view *v, unsigned pc)
{
    const struct mode m = mode_of(lun, v, pc);

    memset(out, 0, PAGE_LEN_MAX);
    memcpy(out, pages[i].fixed, pc == PC_CHANGEABLE ? 2 : pages[i].len);
    page_bits(out, pages[i].code, &m);
}

/* ---- MODE SENSE ------------------------------------------------------------------------------------------ */

enum lun_next dev_mode_sense_check(struct scsi_task *t)
{
    const unsigned code = t->cdb[2] & 0x3f;

    if (t->cdb[2] >> 6 == PC_SAVED) {
        task_check(t, SCSI_ILLEGAL_REQUEST, 0x39, 0x00);
        return LUN_DONE;
    }
    if (t->cdb[3] && t->cdb[3] != SUBPAGE_ALL)
        return task_bad_cdb(t, 3, 7);
    for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
        if (code == PAGE_ALL || code == pages[i].code)
            return LUN_RUN;
    return task_bad_cdb(t, 2, 5);
}

static uint32_t descriptor_make(uint8_t out[static 16], const struct scsi_task *t, bool long_lba)
{
    const uint64_t blocks = task_view(t)->blocks;

    memset(out, 0, 16);
    if (long_lba) {
        store_be64(&out[0], blocks);
        store_be32(&out[12], task_lun(t)->block_len);
        return 16;
    }
    store_be32(&out[0], blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)blocks);
    store_be24(&out[5], task_lun(t)->block_len);
    return 8;
}

void dev_mode_sense(struct scsi_task *t)
{
    const struct lun *lun = task_lun(t);
    const bool ten = t->cmd->len == 10, long_lba = ten && (t->cdb[1] & 0x10), no_desc = t->cdb[1] & 0x08;
    const unsigned code = t->cdb[2] & 0x3f, pc = t->cdb[2] >> 6;
    const bool protected = lun->readonly || t->itl->readonly || task_view(t)->swp;
    uint8_t data[8 + 16 + ARRAY_SIZE(pages) * PAGE_LEN_MAX] = { 0 };
    uint32_t at = ten ? 8 : 4;
    const uint8_t device = (uint8_t)((protected ? 0x80 : 0) | 0x10);   /* WP; DPOFUA */

    if (!no_desc) {
        uint8_t desc[16];
        const uint32_t n = descriptor_make(desc, t, long_lba);

        memcpy(&data[at], desc, n);
        data[ten ? 7 : 3] = (uint8_t)n;
        at += n;
    }
    for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
        uint8_t page[PAGE_LEN_MAX];

        if (code != PAGE_ALL && code != pages[i].code)
            continue;
        page_make(page, i, lun, task_view(t), pc);
        memcpy(&data[at], page, pages[i].len);
        at += pages[i].len;
    }
    if (ten) {
        store_be16(&data[0], (uint16_t)(at - 2));
        data[3] = device;
        data[4] = long_lba ? 0x01 : 0;
    } else {
        data[0] = (uint8_t)(at - 1);
        data[2] = device;
    }
    resp_send(t, data, at);
}

/* ---- MODE SELECT ----------------------------------------------------------------------------------------- */

enum lun_next dev_mode_select_check(struct scsi_task *t)
{
    if (!(t->cdb[1] & 0x10))
        return task_bad_cdb(t, 1, 4);       /* PF: pages in the vendor's own format are not known */
    if (t->cdb[1] & 0x01)
        return task_bad_cdb(t, 1, 0);       /* SP: there is nowhere to save to */
    if (!t->out_len)
        return LUN_DONE;
    if (t->edtl >= t->out_len)
        return LUN_RUN;
    task_check(t, SCSI_ILLEGAL_REQUEST, 0x1a, 0x00);
    return LUN_DONE;
}

static bool cut_short(struct scsi_task *t)
{
    task_check(t, SCSI_ILLEGAL_REQUEST, 0x1a, 0x00);
    return false;
}

/* The block descriptor may repeat what is so; changing the capacity is not for an initiator. */
static bool descriptor_ok(struct scsi_task *t, const uint8_t *d, uint32_t at, uint32_t len)
{
    const uint64_t blocks = len == 16 ? load_be64(d) : load_be32(d), have = task_view(t)->blocks;
    const uint32_t block_len = len == 16 ? load_be32(d + 12) : load_be24(d + 5);

    if (block_len != task_lun(t)->block_len)
        task_bad_param(t, at + (len == 16 ? 12 : 5), -1);
    else if (blocks && blocks != have && !(len == 8 && blocks == UINT32_MAX))
        task_bad_param(t, at, -1);
    else
        return true;
    return false;
}

/* One page at @at of @p. Return: its length, or 0 with the task's sense set. */
static uint32_t page_apply(struct scsi_task *t, const uint8_t *p, uint32_t at, uint32_t len, struct lun_view *n)
{
    const unsigned code = p[at] & 0x3f;
    uint8_t now[PAGE_LEN_MAX], may[PAGE_LEN_MAX];

    if (at + 2 > len)
        return cut_short(t);
    for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
        if (pages[i].code != code || (p[at] & 0x40))
            continue;
        if (p[at + 1] != pages[i].len - 2) {
            task_bad_param(t, at + 1, -1);
            return 0;
        }
        if (at + pages[i].len > len)
            return cut_short(t);
        page_make(now, i, task_lun(t), n, PC_CURRENT);
        page_make(may, i, task_lun(t), n, PC_CHANGEABLE);
        for (uint32_t j = 2; j < pages[i].len; j++) {
            if ((p[at + j] ^ now[j]) & ~may[j]) {
                task_bad_param(t, at + j, -1);
                return 0;
            }
        }
        if (code == PAGE_CACHING)
            n->wce = p[at + 2] & WCE;
        if (code == PAGE_CONTROL) {
            n->d_sense = p[at + 2] & D_SENSE;
            n->swp = p[at + 4] & SWP;
        }
        return pages[i].len;
    }
    task_bad_param(t, at, 5);
    return 0;
}

static bool list_apply(struct scsi_task *t, const uint8_t *p, uint32_t len, struct lun_view *n)
{
    const bool ten = t->cmd->len == 10, long_lba = ten && (p[4] & 0x01);
    const uint32_t header = ten ? 8 : 4, want = long_lba ? 16 : 8;
    uint32_t desc, at;

    if (len < header)
        return cut_short(t);
    desc = ten ? load_be16(&p[6]) : p[3];
    if (desc && desc != want) {
        task_bad_param(t, ten ? 6 : 3, -1);
        return false;
    }
    if (header + desc > len)
        return cut_short(t);
    if (desc && !descriptor_ok(t, &p[header], header, desc))
        return false;
    for (at = header + desc; at < len;) {
        const uint32_t took = page_apply(t, p, at, len, n);

        if (!took)
            return false;
        at += took;
    }
    return true;
}

static void select_synced(struct be_io *io, int res)
{
    struct lun *lun = container_of(io, struct lun, own.io);

    if (res)
        task_be_error(lun->own.task, res, true);
    owner_end(lun);
}

/* With the cache off, what it still holds goes to the medium before anybody relies on that. */
static void select_published(struct lun *lun)
{
    struct lun_owner *own = &lun->own;

    if (!lun->cached || owner_view(lun)->wce) {
        owner_end(lun);
        return;
    }
    own->io.done = select_synced;
    be_sync(lun->be, lun->owner_rt, &own->io);
}

void dev_mode_select(struct scsi_task *t)
{
    struct lun *lun = task_lun(t);
    const struct lun_view *v = owner_view(lun);
    struct lun_view *n = owner_draft(lun);
    uint8_t p[LUN_MODE_PARAM_MAX] = { 0 };

    if (t->out_got < t->out_len) {
        cut_short(t);
        owner_end(lun);
        return;
    }
    iov_get(t->out_iov, t->out_nr, 0, p, t->out_len);
    if (!list_apply(t, p, t->out_len, n) ||
        (n->wce == v->wce && n->d_sense == v->d_sense && n->swp == v->swp)) {
        owner_end(lun);
        return;
    }
    view_event(n, 0x2a, 0x01, t->itl->id);
    owner_publish(lun, select_published);
}
