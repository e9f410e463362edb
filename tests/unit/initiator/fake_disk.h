/*
 * fake_disk.h - the small RAM disk behind a target made up for a test: what it answers to commands
 */
#ifndef FAKE_DISK_H
#define FAKE_DISK_H

#include "fake_wire.h"

static inline void fake_inquiry(struct fake_conn *c)
{
    uint8_t d[96] = { 0, [2] = 6, [3] = 2, [4] = 91 };
    const uint8_t *cdb = c->pdu.cmd.cdb;

    if (!(cdb[1] & 1)) {
        d[5] = c->f->tpgs;
        memcpy(d + 8, "CORELANEFAKE DISK       1.0 ", 28);
        fake_data(c, d, sizeof(d));
        return;
    }
    memset(d, 0, sizeof(d));
    d[1] = cdb[2];
    switch (cdb[2]) {
    case 0x00:
        d[3] = 2;
        d[4] = 0x00;
        d[5] = 0x80;
        if (!c->f->no_vpd83)
            d[4 + d[3]++] = 0x83;
        if (c->f->unmap_max)
            d[4 + d[3]++] = 0xb0;
        if (c->f->vpd_b2)
            d[4 + d[3]++] = 0xb2;
        fake_data(c, d, 4u + d[3]);
        return;
    case 0xb0:
        d[3] = 0x3c;
        store_be32(d + 20, c->f->unmap_max);
        store_be32(d + 24, 1);
        fake_data(c, d, 64);
        return;
    case 0xb2:
        d[3] = 4;
        d[5] = c->f->vpd_b2;
        fake_data(c, d, 8);
        return;
    case 0x80:
        d[3] = 16;
        memcpy(d + 4, c->f->naa, 16);
        fake_data(c, d, 20);
        return;
    case 0x83:
        d[3] = 12;
        d[4] = 1;
        d[5] = 3;
        d[7] = 8;
        for (unsigned i = 0; i < 8; i++) {
            unsigned v = 0;

            sscanf(c->f->naa + 2 * i, "%2x", &v);
            d[8 + i] = (uint8_t)v;
        }
        if (c->f->tpgs) {
            memcpy(d + 16, (uint8_t[]){ 1, 0x94, 0, 4, 0, 0, 0, 9, 1, 0x95, 0, 4, 0, 0, 0, 3 }, 16);
            d[3] += 16;
        }
        fake_data(c, d, 4u + d[3]);
        return;
    default:
        fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    }
}

static inline void fake_capacity(struct fake_conn *c)
{
    uint8_t d[32] = { 0 };

    store_be64(d, c->f->blocks - 1);
    store_be32(d + 8, 512);
    d[14] = (uint8_t)(c->f->lbpme << 7 | c->f->lbprz << 6);
    fake_data(c, d, sizeof(d));
}

static inline void fake_capacity_10(struct fake_conn *c)
{
    uint8_t d[8];

    store_be32(d, c->f->blocks > 0xffffffffu ? 0xffffffffu : (uint32_t)c->f->blocks - 1);
    store_be32(d + 4, 512);
    fake_data(c, d, sizeof(d));
}

/* The list is one descriptor: more would be more than we said we take. */
static inline void fake_unmap(struct fake_conn *c)
{
    const uint64_t lba = load_be64(c->data + 8);
    const uint32_t blocks = load_be32(c->data + 16);

    if (c->len != 24 || load_be16(c->data) != 22 || load_be16(c->data + 2) != 16 || lba > FAKE_BLOCKS ||
        blocks > FAKE_BLOCKS - lba || (c->f->unmap_max && blocks > c->f->unmap_max)) {
        fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x26, 0);
        return;
    }
    c->f->unmaps++;
    memset(c->f->disk + 512 * lba, 0, 512ull * blocks);
    fake_status(c, c->pdu.itt, SCSI_GOOD);
}

static inline void fake_mode(struct fake_conn *c)
{
    uint8_t d[24] = { 23, 0, 0, 0, 0x08, 18, 0x04 };        /* caching page: WCE; no DPOFUA */
    uint8_t ten[28] = { 0, 26, 0, 0x10, 0, 0, 0, 0, 0x08, 18, 0x04 };      /* here with DPOFUA */

    if (c->pdu.cmd.cdb[0] == SCSI_MODE_SENSE_6)
        fake_data(c, d, sizeof(d));
    else
        fake_data(c, ten, sizeof(ten));
}

/* Another group, optimized, comes first. */
static inline void fake_groups(struct fake_conn *c)
{
    uint8_t d[28] = { 0, 0, 0, 24, 0, 0x0f, 0, 2, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0x0f, 0, 3, 0, 0, 0, 1, 0, 0, 0, 9 };

    c->f->group_reads++;
    d[16] = (uint8_t)c->f->access;
    fake_data(c, d, sizeof(d));
}

static inline void fake_groups_set(struct fake_conn *c)
{
    if (c->len != 8 || load_be16(c->data + 6) != 3) {
        fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x26, 0);
        return;
    }
    c->f->group_sets++;
    c->f->access = c->data[4];
    fake_status(c, c->pdu.itt, SCSI_GOOD);
}

static inline void fake_note(struct fake *f, uint32_t lba)
{
    const unsigned n = f->lba_nr++;

    if (n < sizeof(f->lba) / sizeof(f->lba[0]))
        f->lba[n] = lba;
}

static inline void fake_command(struct fake_conn *c)
{
    struct fake *f = c->f;
    const uint8_t *cdb = c->pdu.cmd.cdb;
    const uint32_t lba = load_be32(cdb + 2), len = c->pdu.cmd.edtl;

    switch (cdb[0]) {
    case SCSI_TEST_UNIT_READY:
        f->readies++;
        fake_status(c, c->pdu.itt, SCSI_GOOD);
        return;
    case SCSI_INQUIRY:
        fake_inquiry(c);
        return;
    case SCSI_SERVICE_IN_16:
        if (f->no_cap16)
            break;
        fake_capacity(c);
        return;
    case SCSI_READ_CAPACITY_10:
        fake_capacity_10(c);
        return;
    case SCSI_MODE_SENSE_6:
        if (f->no_mode6)
            break;
        fake_mode(c);
        return;
    case SCSI_MODE_SENSE_10:
        fake_mode(c);
        return;
    case SCSI_MAINTENANCE_IN:
        if (!f->tpgs || cdb[1] != 0x0a)
            break;
        fake_groups(c);
        return;
    case SCSI_MAINTENANCE_OUT:
        if (!(f->tpgs & 0x20) || cdb[1] != 0x0a)
            break;
        fake_groups_set(c);
        return;
    case SCSI_UNMAP:
        if (!(f->vpd_b2 & 0x80))
            break;
        fake_unmap(c);
        return;
    case SCSI_SYNC_CACHE_10:
        f->syncs++;
        fake_status(c, c->pdu.itt, SCSI_GOOD);
        return;
    case SCSI_READ_10:
        f->reads++;
        fake_note(f, lba);
        fake_data(c, f->disk + 512ull * lba, len);
        return;
    case SCSI_WRITE_10:
        f->writes++;
        fake_note(f, lba);
        if (fake_fetch(c)) {
            memcpy(f->disk + 512ull * lba, c->data, len);
            fake_status(c, c->pdu.itt, SCSI_GOOD);
        } else {
            fake_status(c, c->pdu.itt, SCSI_TASK_ABORTED);
        }
        return;
    case SCSI_WRITE_SAME_16:
        if (f->no_write_same)
            break;
        f->sames++;
        memset(f->disk + 512 * load_be64(cdb + 2), 0, 512ull * load_be32(cdb + 10));
        fake_status(c, c->pdu.itt, SCSI_GOOD);
        return;
    default:
        break;
    }
    fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x20, 0);
}

static inline void fake_tmf(struct fake_conn *c, uint8_t response)
{
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_TMF_RESP, .final = true, .itt = c->pdu.itt, .ttt = ISCSI_TAG_RESERVED
    };

    p.tmf.response = response;
    fake_send(c, p, NULL, 0);
}

static inline void fake_nop(struct fake_conn *c)
{
    const struct iscsi_pdu p = {
        .opcode = ISCSI_OP_NOP_IN, .final = true, .itt = c->pdu.itt, .ttt = ISCSI_TAG_RESERVED
    };

    c->f->nops++;
    if (c->pdu.itt != ISCSI_TAG_RESERVED)
        fake_send(c, p, c->data, c->len);
}

/* Return: false when the connection is over. */
static inline bool fake_answer(struct fake_conn *c)
{
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_LOGOUT_RESP, .final = true, .itt = c->pdu.itt, .ttt = ISCSI_TAG_RESERVED
    };

    switch (c->pdu.opcode) {
    case ISCSI_OP_SCSI_CMD:
        fake_command(c);
        return true;
    case ISCSI_OP_NOP_OUT:
        fake_nop(c);
        return true;
    case ISCSI_OP_TMF:
        if (c->pdu.tmf.function == ISCSI_TMF_ABORT_TASK)
            c->f->aborts++;
        else if (c->pdu.tmf.function == ISCSI_TMF_ABORT_TASK_SET)
            c->f->set_aborts++;
        else
            c->f->resets++;
        fake_tmf(c, ISCSI_TMF_COMPLETE);
        return true;
    case ISCSI_OP_LOGOUT:
        c->f->logouts++;
        fake_send(c, p, NULL, 0);
        return false;
    default:
        return true;
    }
}

static inline void fake_serve(struct fake_conn *c)
{
    while (fake_recv(c)) {
        if (c->f->hook && c->f->hook(c))
            continue;
        if (!fake_answer(c))
            return;
    }
}

static inline void fake_default_script(struct fake_conn *c)
{
    if (fake_login(c))
        fake_serve(c);
}

#endif
