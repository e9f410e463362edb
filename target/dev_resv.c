/*
 * dev_resv.c - RESERVE and RELEASE, the reservations of SPC-2, on the owner core
 *
 * They and persistent reservations shut each other out: where there is a registration these conflict, and
 * while one of these is held PERSISTENT RESERVE OUT does. Source: SPC-2 r20, "RESERVE (6) command"; SPC-4
 * r36, "Exceptions to SPC-2 RESERVE and RELEASE behavior" (CRH is 0).
 */
#include "target/lun_internal.h"

static void reserve_end(struct scsi_task *t, uint8_t status)
{
    t->status = status;
    owner_end(task_lun(t));
}

static void reserve_set(struct lun *lun, uint64_t id)
{
    owner_draft(lun)->legacy = id;
    owner_publish(lun, owner_end);
}

void dev_reserve(struct scsi_task *t)
{
    const struct lun_view *v = owner_view(task_lun(t));

    if (v->regs_nr || (v->legacy && v->legacy != t->itl->id))
        reserve_end(t, SCSI_RESERVATION_CONFLICT);
    else if (v->legacy)
        reserve_end(t, SCSI_GOOD);
    else
        reserve_set(task_lun(t), t->itl->id);
}

/* From a nexus that holds nothing it is GOOD and changes nothing. */
void dev_release(struct scsi_task *t)
{
    const struct lun_view *v = owner_view(task_lun(t));

    if (v->regs_nr)
        reserve_end(t, SCSI_RESERVATION_CONFLICT);
    else if (v->legacy != t->itl->id)
        reserve_end(t, SCSI_GOOD);
    else
        reserve_set(task_lun(t), 0);
}
