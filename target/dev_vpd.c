/*
 * dev_vpd.c - vital product data: what the unit is and what it can do
 */
#include <stdio.h>
#include <string.h>

#include "reactor/rt_bytes.h"
#include "target/lun_internal.h"

enum { PAGE_MAX = 1024 };

/* A page under construction: the header is put in front when its length is known. */
struct page {
    uint8_t data[PAGE_MAX];
    uint32_t len;
};

static uint8_t *page_more(struct page *p, uint32_t len)
{
    uint8_t *at = &p->data[p->len];

    assert(p->len + len <= sizeof(p->data));
    memset(at, 0, len);
    p->len += len;
    return at;
}

static void vpd_serial(struct page *p, const struct scsi_task *t)
{
    memcpy(page_more(p, 32), task_lun(t)->serial, 32);
}

/* ---- page 83 --------------------------------------------------------------------------------------------- */

enum { CODE_BINARY = 1, CODE_ASCII = 2, CODE_UTF8 = 3 };
enum { DESIG_T10 = 1, DESIG_NAA = 3, DESIG_REL_PORT = 4, DESIG_GROUP = 5, DESIG_NAME = 8 };
enum { OF_UNIT = 0x00, OF_PORT = 0x90, OF_TARGET = 0xa0 };   /* association; PIV where there is a protocol */
#define PROTOCOL_ISCSI 0x50

static uint8_t *desig(struct page *p, unsigned code, unsigned of, unsigned type, uint32_t len)
{
    uint8_t *d = page_more(p, 4 + len);

    d[0] = (uint8_t)(code | (of == OF_UNIT ? 0 : PROTOCOL_ISCSI));
    d[1] = (uint8_t)(of | type);
    d[3] = (uint8_t)len;
    return d + 4;
}

/* A SCSI name string: NUL-terminated and padded to a multiple of four. */
static void desig_name(struct page *p, unsigned of, const char *name)
{
    const uint32_t len = ((uint32_t)strlen(name) + 4) & ~3u;

    memcpy(desig(p, CODE_UTF8, of, DESIG_NAME, len), name, strlen(name));
}

/* Source: SPC-4 r36, "Device Identification VPD page"; RFC 7143 4.4.3 for the names. */
static void vpd_identity(struct page *p, const struct scsi_task *t)
{
    const struct lun *lun = task_lun(t);
    const struct nexus *n = t->nexus;
    char name[ISCSI_NAME_LEN_MAX + 16];

    memcpy(desig(p, CODE_BINARY, OF_UNIT, DESIG_NAA, 16), lun->naa, 16);
    memcpy(desig(p, CODE_ASCII, OF_UNIT, DESIG_T10, 40), "CORELANE", 8);
    memcpy(&p->data[p->len - 32], lun->serial, 32);
    snprintf(name, sizeof(name), "naa.%s", lun->serial);
    desig_name(p, OF_UNIT, name);
    store_be16(desig(p, CODE_BINARY, OF_PORT, DESIG_REL_PORT, 4) + 2, n->rel_port);
    store_be16(desig(p, CODE_BINARY, OF_PORT, DESIG_GROUP, 4) + 2, n->tpgt);
    snprintf(name, sizeof(name), "%s,t,0x%04x", n->target, n->tpgt);
    desig_name(p, OF_PORT, name);
    desig_name(p, OF_TARGET, n->target);
}

/* ---- the others ------------------------------------------------------------------------------------------ */

/* Source: SPC-4 r36, "Extended INQUIRY Data VPD page". */
static void vpd_extended(struct page *p, const struct scsi_task *t)
{
    uint8_t *d = page_more(p, 60) - 4;      /* numbered as in the standard */

    d[5] = 0x07;                            /* HEADSUP, ORDSUP, SIMPSUP */
    d[6] = task_lun(t)->cached ? 0x01 : 0;  /* V_SUP: a volatile cache */
}

/* Every page is shared by all nexuses. */
static void vpd_mode_policy(struct page *p, const struct scsi_task *t)
{
    uint8_t *d = page_more(p, 4);

    d[0] = 0x3f;
    d[1] = 0xff;
}

/* Source: SBC-3 r36, "Block Limits VPD page"; the atomic lengths are SBC-4 r10's. */
static void vpd_limits(struct page *p, const struct scsi_task *t)
{
    const struct lun *lun = task_lun(t);
    const uint32_t transfer = LUN_TRANSFER_MAX >> lun->block_shift, phys = lun->phys_len >> lun->block_shift;
    uint8_t *d = page_more(p, 60) - 4;      /* numbered as in the standard */

    d[4] = 0x01;                            /* WSNZ */
    d[5] = LUN_CAW_MAX;
    store_be16(&d[6], (uint16_t)phys);      /* optimal granularity */
    store_be32(&d[8], transfer);
    store_be32(&d[12], (1u << 20) >> lun->block_shift);
    if (lun->thin) {
        store_be32(&d[20], LUN_UNMAP_MAX);
        store_be32(&d[24], LUN_UNMAP_DESCS_MAX);
        store_be32(&d[28], phys);
        store_be32(&d[32], 0x80000000u);    /* UGAVALID, alignment 0 */
    }
    store_be64(&d[36], LUN_WRITE_SAME_MAX);
    if (lun->atomic)
        store_be32(&d[44], transfer < 0xffff ? transfer : 0xffff);
}

static void vpd_characteristics(struct page *p, const struct scsi_task *t)
{
    uint8_t *d = page_more(p, 60) - 4;

    d[5] = 1;                               /* medium rotation rate: does not rotate */
}

/* Source: SBC-3 r36, "Logical Block Provisioning VPD page". */
static void vpd_provisioning(struct page *p, const struct scsi_task *t)
{
    uint8_t *d = page_more(p, 4) - 4;

    if (!task_lun(t)->thin)
        return;
    d[5] = (uint8_t)(0x80 | 0x40 | 0x20 | (task_lun(t)->zeroes ? 0x04 : 0));   /* LBPU, LBPWS, LBPWS10, LBPRZ */
    d[6] = 0x02;                            /* thin */
}

static void vpd_pages(struct page *p, const struct scsi_task *t);

static const struct {
    uint8_t page;
    void (*put)(struct page *p, const struct scsi_task *t);
} pages[] = {
    { 0x00, vpd_pages },
    { 0x80, vpd_serial },
    { 0x83, vpd_identity },
    { 0x86, vpd_extended },
    { 0x87, vpd_mode_policy },
    { 0xb0, vpd_limits },
    { 0xb1, vpd_characteristics },
    { 0xb2, vpd_provisioning },
};

static void vpd_pages(struct page *p, const struct scsi_task *t)
{
    for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
        *page_more(p, 1) = pages[i].page;
}

void dev_vpd(struct scsi_task *t)
{
    struct page p = { .len = 0 };

    for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
        if (pages[i].page != t->cdb[2])
            continue;
        page_more(&p, 4);
        p.data[0] = dev_peripheral(t);
        p.data[1] = t->cdb[2];
        pages[i].put(&p, t);
        store_be16(&p.data[2], (uint16_t)(p.len - 4));
        resp_send(t, p.data, p.len);
        return;
    }
    task_bad_cdb(t, 2, 7);
    task_end(t);
}
