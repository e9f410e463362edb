/*
 * pr.c - persistent reservations: the bytes of the two commands, and sending one; see pr.h
 *
 * Source: SPC-4 r36, "PERSISTENT RESERVE IN command", "PERSISTENT RESERVE OUT command".
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "mpio/pr.h"
#include "reactor/rt_bytes.h"

#define TRIES_MAX  10u
#define HEADER_LEN 8u
#define HELD_LEN   16u

static const struct {
    const char *name;
    uint8_t code;
    bool shared;
} types[] = {
    { "write-exclusive", 1, false },
    { "exclusive-access", 3, false },
    { "write-exclusive-registrants-only", 5, true },
    { "exclusive-access-registrants-only", 6, true },
    { "write-exclusive-all-registrants", 7, true },
    { "exclusive-access-all-registrants", 8, true },
};

int mpio_pr_type_parse(const char *word)
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (!strcmp(types[i].name, word))
            return types[i].code;
    return -EINVAL;
}

const char *mpio_pr_type_name(unsigned type)
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (types[i].code == type)
            return types[i].name;
    return "unknown";
}

bool mpio_pr_type_shared(unsigned type)
{
    return type >= 5 && type <= 8;
}

/* ---- bytes ----------------------------------------------------------------------------------------------- */

static bool is_in(const struct mpio_pr *pr)
{
    return pr->action == MPIO_PR_READ_KEYS || pr->action == MPIO_PR_READ_RESERVATION;
}

unsigned mpio_pr_cdb(uint8_t cdb[static 16], const struct mpio_pr *pr, uint16_t alloc)
{
    static const uint8_t codes[] = {
        [MPIO_PR_READ_KEYS] = 0, [MPIO_PR_READ_RESERVATION] = 1, [MPIO_PR_REGISTER] = 6,
        [MPIO_PR_RESERVE] = 1,   [MPIO_PR_RELEASE] = 2,          [MPIO_PR_CLEAR] = 3,
        [MPIO_PR_PREEMPT] = 4,   [MPIO_PR_PREEMPT_ABORT] = 5,
    };

    memset(cdb, 0, 16);
    cdb[1] = codes[pr->action];
    if (is_in(pr)) {
        cdb[0] = SCSI_PR_IN;
        store_be16(&cdb[7], alloc);
    } else {
        cdb[0] = SCSI_PR_OUT;
        cdb[2] = pr->type; /* scope 0: the logical unit */
        store_be32(&cdb[5], MPIO_PR_PARAM_LEN);
    }
    return 10;
}

void mpio_pr_param(uint8_t out[static MPIO_PR_PARAM_LEN], const struct mpio_pr *pr)
{
    memset(out, 0, MPIO_PR_PARAM_LEN);
    if (pr->action == MPIO_PR_REGISTER) {
        store_be64(&out[8], pr->key); /* the existing key is ignored */
        return;
    }
    store_be64(&out[0], pr->key);
    store_be64(&out[8], pr->other);
}

int mpio_pr_parse(struct mpio_pr *pr, const uint8_t *data, size_t len)
{
    uint32_t said;

    if (len < HEADER_LEN)
        return -EPROTO;
    said = load_be32(&data[4]);
    pr->generation = load_be32(data);
    len -= HEADER_LEN;
    if (pr->action == MPIO_PR_READ_RESERVATION) {
        if (said && (said < HELD_LEN || len < HELD_LEN))
            return -EPROTO;
        pr->held = said;
        if (pr->held) {
            pr->held_key = load_be64(&data[HEADER_LEN]);
            pr->held_type = data[HEADER_LEN + 13] & 0x0f;
        }
        return 0;
    }
    if (said % 8)
        return -EPROTO;
    pr->keys_nr = 0;
    for (; pr->keys_nr < MPIO_PR_KEYS_MAX && pr->keys_nr < said / 8 && len >= 8u * (pr->keys_nr + 1);
         pr->keys_nr++)
        pr->keys[pr->keys_nr] = load_be64(&data[HEADER_LEN + 8 * pr->keys_nr]);
    pr->keys_more = said / 8 - pr->keys_nr;
    return 0;
}

/* ---- sending --------------------------------------------------------------------------------------------- */

static void pr_over(struct mpio_pr *pr, int err, const char *why)
{
    pr->err = err;
    snprintf(pr->why, sizeof(pr->why), "%s", why && *why ? why : err ? strerror(-err) : "");
    pr->done(pr);
}

static void refused(struct mpio_pr *pr, const struct ini_task *t)
{
    char sense[96];

    if (t->status == SCSI_RESERVATION_CONFLICT) {
        pr_over(pr, -EBADE,
                "reservation conflict: it is reserved by another host, or this path is not registered");
        return;
    }
    if (t->status != SCSI_CHECK_CONDITION) {
        pr_over(pr, -EBUSY, scsi_status_name(t->status));
        return;
    }
    scsi_sense_format(&t->sense, sense);
    pr_over(pr, t->sense.key == SCSI_ILLEGAL_REQUEST && t->sense.asc == 0x20 ? -EOPNOTSUPP : -EIO, sense);
}

static void pr_done(struct ini_task *t)
{
    struct mpio_pr *pr = container_of(t, struct mpio_pr, task);
    const bool attention = !t->err && t->status == SCSI_CHECK_CONDITION && t->sense.key == SCSI_UNIT_ATTENTION;
    const bool busy = !t->err && (t->status == SCSI_BUSY || t->status == SCSI_TASK_SET_FULL);

    if ((attention || busy) && pr->tries++ < TRIES_MAX)
        ini_submit(t->sess, t);
    else if (t->err)
        pr_over(pr, t->err, NULL);
    else if (t->status != SCSI_GOOD)
        refused(pr, t);
    else if (is_in(pr) && mpio_pr_parse(pr, pr->buf, t->in_len))
        pr_over(pr, -EPROTO, "the target's answer to PERSISTENT RESERVE IN makes no sense");
    else
        pr_over(pr, 0, NULL);
}

void mpio_pr_send(struct ini_sess *s, uint16_t lun, struct mpio_pr *pr)
{
    struct ini_task *t = &pr->task;
    struct dm_buf *buf = is_in(pr) ? &t->in : &t->out;

    memset(t, 0, sizeof(*t));
    pr->tries = 0;
    pr->held = false;
    pr->keys_nr = pr->keys_more = 0;
    t->lun = lun;
    t->cdb_len = (uint8_t)mpio_pr_cdb(t->cdb, pr, sizeof(pr->buf));
    pr->iov = (struct iovec){ pr->buf, is_in(pr) ? sizeof(pr->buf) : MPIO_PR_PARAM_LEN };
    if (!is_in(pr))
        mpio_pr_param(pr->buf, pr);
    *buf = (struct dm_buf){ &pr->iov, 1, (uint32_t)pr->iov.iov_len };
    t->edtl = buf->len;
    /* To register again what is registered changes nothing; the others may not be what was meant by then. */
    t->once = !is_in(pr) && pr->action != MPIO_PR_REGISTER;
    t->done = pr_done;
    ini_submit(s, t);
}
