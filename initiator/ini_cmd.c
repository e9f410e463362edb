/*
 * ini_cmd.c - small commands with their answer in memory: sent again where that is right, and REPORT LUNS
 *
 * What they are sent for is known to who sends them; here is what an answer says that is not one yet.
 */
#include <stdlib.h>
#include "initiator/ini_internal.h"

static bool becoming_ready(const struct scsi_sense *e)
{
    /* 04/01 becoming ready, 04/0A changes its ALUA state, 04/1B busy with a host's internal operation */
    return e->key == SCSI_NOT_READY && e->asc == 0x04 &&
           (e->ascq == 0x01 || e->ascq == 0x0a || e->ascq == 0x1b);
}

static void cmd_submit(struct ini_cmd *c)
{
    c->iov = (struct iovec){ c->buf, c->buf_len };
    *(c->out ? &c->task.out : &c->task.in) =
        (struct dm_buf){ .iov = &c->iov, .iov_nr = c->buf_len ? 1 : 0, .len = c->buf_len };
    *(c->out ? &c->task.in : &c->task.out) = (struct dm_buf){ 0 };
    c->task.edtl = c->buf_len;
    ini_submit(c->sess, &c->task);
}

static void cmd_later(struct rt_timer *t)
{
    struct ini_cmd *c = container_of(t, struct ini_cmd, timer);

    rt_list_del(&c->waits);
    cmd_submit(c);
}

bool ini_cmd_cancel(struct ini_cmd *c)
{
    if (!rt_timer_armed(&c->timer))
        return false;
    rt_timer_disarm(c->sess->rt, &c->timer);
    rt_list_del(&c->waits);
    return true;
}

static void cmd_done(struct ini_task *t)
{
    struct ini_cmd *c = container_of(t, struct ini_cmd, task);
    const bool checked = !t->err && t->status == SCSI_CHECK_CONDITION;
    uint64_t wait = 0;

    if (checked && t->sense.key == SCSI_UNIT_ATTENTION) {
        c->attentions++;
        if (c->tries++ < INI_CMD_TRIES_MAX) {
            cmd_submit(c);
            return;
        }
    } else if (!t->err &&
               (t->status == SCSI_BUSY || t->status == SCSI_TASK_SET_FULL || t->status == SCSI_TASK_ABORTED)) {
        wait = 200 * RT_MS;
    } else if (checked && becoming_ready(&t->sense)) {
        wait = 500 * RT_MS;
    } else if (checked && t->sense.key == SCSI_ABORTED_COMMAND && c->tries < INI_CMD_TRIES_MAX) {
        wait = 50 * RT_MS;
    }
    if (wait && c->tries++ < INI_LUN_TRIES_MAX) {
        rt_timer_arm(c->sess->rt, &c->timer, wait);
        rt_list_push(&c->sess->cmds, &c->waits);
        return;
    }
    c->done(c);
}

void ini_cmd_start(struct ini_sess *s, struct ini_cmd *c)
{
    c->sess = s;
    c->tries = c->attentions = 0;
    c->timer.fn = cmd_later;
    c->task.done = cmd_done;
    cmd_submit(c);
}

int ini_cmd_result(const struct ini_cmd *c)
{
    const struct ini_task *t = &c->task;

    if (t->err)
        return t->err;
    if (t->status == SCSI_GOOD)
        return 0;
    if (t->status == SCSI_RESERVATION_CONFLICT)
        return -EBADE;
    if (t->status != SCSI_CHECK_CONDITION)
        return -EBUSY;
    switch (t->sense.key) {
    case SCSI_NO_SENSE:
    case SCSI_RECOVERED_ERROR:  return 0;
    case SCSI_ILLEGAL_REQUEST:  return t->sense.asc == 0x25 ? -ENODEV : -EOPNOTSUPP;
    case SCSI_NOT_READY:        return t->sense.asc == 0x3a ? -ENODEV : -EAGAIN;
    default:                    return -EIO;
    }
}

/* ---- REPORT LUNS ---------------------------------------------------------------------------------------- */

#define REPORT_LEN (8u + 8u * (SCSI_LUN_MAX + 1))

struct report {
    struct ini_cmd cmd;
    void (*done)(void *user, int err, const uint16_t *luns, unsigned nr);
    void *user;
    uint16_t luns[SCSI_LUN_MAX + 1];
    uint8_t buf[REPORT_LEN];
};

static void report_done(struct ini_cmd *c)
{
    struct report *r = container_of(c, struct report, cmd);
    int err = ini_cmd_result(c), nr = 0;

    if (!err)
        nr = scsi_report_luns_parse(r->luns, ARRAY_SIZE(r->luns), r->buf, c->task.in_len);
    if (nr < 0)
        err = nr;
    r->done(r->user, err, r->luns, err ? 0 : (unsigned)nr);
    free(r);
}

void ini_report_luns(struct ini_sess *s, void (*done)(void *user, int err, const uint16_t *luns, unsigned nr),
                     void *user)
{
    struct report *r = calloc(1, sizeof(*r));

    if (!r) {
        done(user, -ENOMEM, NULL, 0);
        return;
    }
    r->done = done;
    r->user = user;
    r->cmd.buf = r->buf;
    r->cmd.buf_len = sizeof(r->buf);
    r->cmd.done = report_done;
    r->cmd.task.cdb_len = (uint8_t)scsi_cdb_report_luns(r->cmd.task.cdb, sizeof(r->buf));
    ini_cmd_start(s, &r->cmd);
}
