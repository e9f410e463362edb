/*
 * parse.c - what a target answers, as structs
 *
 * Every length field of an answer is only ever a reason to believe less of what came, never more: each parser
 * starts by cutting the data to the smaller of the two.
 */
#include <errno.h>
#include <string.h>

#include "reactor/rt_bytes.h"
#include "scsi/cdb.h"
#include "scsi/scsi.h"

static size_t min_len(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* A field at [@at, @at + @n) of @len bytes, or 0 when it is not all there. */
static uint64_t field(const uint8_t *data, size_t len, size_t at, unsigned n)
{
    return at + n <= len ? load_be(&data[at], n) : 0;
}

/* ---- INQUIRY, capacity, REPORT LUNS ---------------------------------------------------------------------- */

/* ASCII of a fixed field: control characters become '?', and the spaces around go. @out: n + 1 bytes. */
static void text_copy(char *out, const uint8_t *data, size_t len, size_t at, size_t n)
{
    size_t used = 0;

    if (at >= len)
        n = 0;
    n = min_len(n, at < len ? len - at : 0);
    for (size_t i = 0; i < n && data[at + i]; i++) {
        const uint8_t c = data[at + i];

        if (c == ' ' && !used)
            continue;
        out[used++] = c >= 0x20 && c < 0x7f ? (char)c : '?';
    }
    while (used && out[used - 1] == ' ')
        used--;
    out[used] = '\0';
}

int scsi_inquiry_parse(struct scsi_inquiry *out, const uint8_t *data, size_t len)
{
    if (len < 5)
        return -EPROTO;
    len = min_len(len, 5u + data[4]);
    *out = (struct scsi_inquiry){
        .qualifier = data[0] >> 5,
        .device_type = data[0] & 0x1f,
        .removable = data[1] & 0x80,
        .version = data[2],
        .tpgs_implicit = field(data, len, 5, 1) & 0x10,
        .tpgs_explicit = field(data, len, 5, 1) & 0x20,
    };
    text_copy(out->vendor, data, len, 8, 8);
    text_copy(out->product, data, len, 16, 16);
    text_copy(out->revision, data, len, 32, 4);
    return 0;
}

static bool block_len_ok(uint32_t n)
{
    return n >= 512 && n <= 65536 && !(n & (n - 1));
}

int scsi_capacity_10_parse(struct scsi_capacity *out, const uint8_t *data, size_t len)
{
    if (len < 8 || !block_len_ok(load_be32(&data[4])))
        return -EPROTO;
    *out = (struct scsi_capacity){
        .blocks = (uint64_t)load_be32(&data[0]) + 1,
        .block_len = load_be32(&data[4]),
        .phys_block_len = load_be32(&data[4]),
    };
    return 0;
}

int scsi_capacity_16_parse(struct scsi_capacity *out, const uint8_t *data, size_t len)
{
    uint64_t last;
    uint32_t block_len;

    if (len < 12)
        return -EPROTO;
    last = load_be64(&data[0]);
    block_len = load_be32(&data[8]);
    /* A size in bytes that does not fit a file offset would wrap in somebody's arithmetic later. */
    if (!block_len_ok(block_len) || last >= INT64_MAX / block_len)
        return -EPROTO;
    *out = (struct scsi_capacity){
        .blocks = last + 1,
        .block_len = block_len,
        .phys_block_len = block_len << (field(data, len, 13, 1) & 0x0f),
        .prot = field(data, len, 12, 1) & 0x01,
        .lbpme = field(data, len, 14, 1) & 0x80,
        .lbprz = field(data, len, 14, 1) & 0x40,
    };
    return 0;
}

int scsi_report_luns_parse(uint16_t *out, size_t max, const uint8_t *data, size_t len)
{
    size_t nr = 0;
    uint16_t lun;

    if (len < 8)
        return -EPROTO;
    len = min_len(len, 8 + (size_t)load_be32(&data[0]));
    for (size_t at = 8; at + 8 <= len && nr < max; at += 8)
        if (scsi_lun_decode(load_be64(&data[at]), &lun) == 0 && lun != SCSI_LUN_WELL_KNOWN)
            out[nr++] = lun;
    return (int)nr;
}

/* ---- vital product data ---------------------------------------------------------------------------------- */

/* The bytes of VPD page @page that are really there; 0: it is another page, or too short to be one. */
static size_t vpd_len(const uint8_t *data, size_t len, uint8_t page)
{
    if (len < 4 || data[1] != page)
        return 0;
    return min_len(len, 4u + load_be16(&data[2]));
}

enum { DESIG_VENDOR = 0, DESIG_T10 = 1, DESIG_EUI64 = 2, DESIG_NAA = 3, DESIG_PORT = 4, DESIG_GROUP = 5, DESIG_NAME = 8 };
enum { OF_PORT = 0x10 };                    /* association, as it stands beside the type */
enum { CODE_BINARY = 1 };

/* One designator: its code set, type and bytes. */
struct desig {
    unsigned code, type, len;
    const uint8_t *id;
};

/* How good an identity it is, 0: none. Among NAA the registered ones come first (6, then 5, 2, 3), as
 * udev's scsi_id ranks them: those are unique by construction, the locally assigned one is not. */
static unsigned desig_rank(const struct desig *d)
{
    static const uint8_t naa_rank[16] = { [2] = 28, [3] = 27, [5] = 29, [6] = 30 };
    unsigned naa;

    if (!d->len)
        return 0;
    switch (d->type) {
    case DESIG_NAA:
        naa = d->id[0] >> 4;
        return d->code == CODE_BINARY && d->len == (naa == 6 ? 16 : 8) ? naa_rank[naa] : 0;
    case DESIG_EUI64:
        return d->code == CODE_BINARY && (d->len == 8 || d->len == 12 || d->len == 16) ? 20 : 0;
    case DESIG_NAME: return 15;
    case DESIG_T10: return 10;
    case DESIG_VENDOR: return 5;
    default: return 0;
    }
}

static bool hex_put(char *out, size_t room, const uint8_t *id, size_t n)
{
    if (2 * n + 1 > room)
        return false;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = "0123456789abcdef"[id[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[id[i] & 0xf];
    }
    out[2 * n] = '\0';
    return true;
}

/* Identities become names of files and devices: runs of blanks are one '_', and so is what a path may not
 * hold. A name too long is refused and not cut: two units could share the beginning. */
static bool text_put(char *out, size_t room, const uint8_t *id, size_t n)
{
    size_t used = 0;

    while (n && (id[n - 1] == ' ' || !id[n - 1]))
        n--;
    for (size_t i = 0; i < n; i++) {
        const bool plain = id[i] > 0x20 && id[i] < 0x7f && id[i] != '/';

        if (!plain && used && out[used - 1] == '_')
            continue;
        if (used + 1 >= room)
            return false;
        out[used++] = plain ? (char)id[i] : '_';
    }
    out[used] = '\0';
    return used > 0;
}

static bool desig_put(char wwid[static SCSI_WWID_MAX], const struct desig *d)
{
    const bool hex = d->type == DESIG_NAA || d->type == DESIG_EUI64 || d->code == CODE_BINARY;

    wwid[0] = (char)('0' + d->type);
    return (hex ? hex_put : text_put)(wwid + 1, SCSI_WWID_MAX - 1, d->id, d->len);
}

int scsi_vpd_83_parse(char wwid[static SCSI_WWID_MAX], const uint8_t *data, size_t len)
{
    char text[SCSI_WWID_MAX];
    unsigned best = 0;

    len = vpd_len(data, len, 0x83);
    if (!len)
        return -EPROTO;
    for (size_t at = 4; at + 4 <= len; at += 4u + data[at + 3]) {
        const struct desig d = {
            .code = data[at] & 0x0f, .type = data[at + 1] & 0x0f, .len = data[at + 3], .id = &data[at + 4],
        };

        if (d.len > len - at - 4)           /* half a designator is not an identity */
            break;
        if ((data[at + 1] & 0x30) || desig_rank(&d) <= best || !desig_put(text, &d))
            continue;
        best = desig_rank(&d);
        strcpy(wwid, text);
    }
    return best ? 0 : -ENOENT;
}

int scsi_vpd_83_port(struct scsi_port *out, const uint8_t *data, size_t len)
{
    struct scsi_port p = { 0 };

    len = vpd_len(data, len, 0x83);
    if (!len)
        return -EPROTO;
    for (size_t at = 4; at + 4 <= len; at += 4u + data[at + 3]) {
        const unsigned type = data[at + 1] & 0x0f;

        if (data[at + 3] > len - at - 4)
            break;
        /* Both are two bytes behind two that are reserved; of two that differ the first counts. */
        if ((data[at + 1] & 0x30) != OF_PORT || data[at + 3] < 4)
            continue;
        if (type == DESIG_PORT && !p.has_port) {
            p.has_port = true;
            p.port = load_be16(&data[at + 6]);
        } else if (type == DESIG_GROUP && !p.has_group) {
            p.has_group = true;
            p.group = load_be16(&data[at + 6]);
        }
    }
    if (!p.has_group && !p.has_port)
        return -ENOENT;
    *out = p;
    return 0;
}

int scsi_vpd_80_parse(char serial[static SCSI_WWID_MAX], const uint8_t *data, size_t len)
{
    char text[SCSI_WWID_MAX];

    len = vpd_len(data, len, 0x80);
    if (!len || len - 4 >= SCSI_WWID_MAX)
        return -EPROTO;
    text_copy(text, data, len, 4, len - 4);
    if (!text[0])
        return -ENOENT;
    strcpy(serial, text);
    return 0;
}

int scsi_vpd_b0_parse(struct scsi_limits *out, const uint8_t *data, size_t len)
{
    uint32_t align;

    len = vpd_len(data, len, 0xb0);
    if (len < 16)
        return -EPROTO;
    align = (uint32_t)field(data, len, 32, 4);
    out->caw_max = data[5];
    out->transfer_max = load_be32(&data[8]);
    out->transfer_opt = load_be32(&data[12]);
    out->unmap_max = (uint32_t)field(data, len, 20, 4);
    out->unmap_descs_max = (uint32_t)field(data, len, 24, 4);
    out->unmap_granularity = (uint32_t)field(data, len, 28, 4);
    out->unmap_alignment = align & 0x80000000u ? align & 0x7fffffffu : 0;   /* UGAVALID */
    out->write_same_max = field(data, len, 36, 8);
    return 0;
}

int scsi_vpd_b1_parse(struct scsi_limits *out, const uint8_t *data, size_t len)
{
    len = vpd_len(data, len, 0xb1);
    if (len < 6)
        return -EPROTO;
    out->rotation = load_be16(&data[4]);
    return 0;
}

int scsi_vpd_b2_parse(struct scsi_limits *out, const uint8_t *data, size_t len)
{
    len = vpd_len(data, len, 0xb2);
    if (len < 6)
        return -EPROTO;
    out->lbpu = data[5] & 0x80;
    out->lbpws = data[5] & 0x40;
    out->lbpws10 = data[5] & 0x20;
    return 0;
}

bool scsi_vpd_00_has(const uint8_t *data, size_t len, uint8_t page)
{
    len = vpd_len(data, len, 0x00);
    for (size_t at = 4; at < len; at++)
        if (data[at] == page)
            return true;
    return false;
}

/* ---- target port groups ---------------------------------------------------------------------------------- */

static bool access_state_ok(uint8_t state)
{
    return state <= 4 || state == 14 || state == 15;
}

/* Of the group at @d, of which @room bytes are there. */
static bool group_lists(const uint8_t *d, size_t room, uint16_t port)
{
    for (size_t i = 0; i < d[7] && 8 + 4 * i + 4 <= room; i++)
        if (load_be16(&d[8 + 4 * i + 2]) == port)
            return true;
    return false;
}

int scsi_groups_parse(struct scsi_group *out, const struct scsi_port *at, const uint8_t *data, size_t len)
{
    const uint8_t *found = NULL;
    size_t nr = 0, pos;

    if (len < 4)
        return -EPROTO;
    len = min_len(len, 4 + (size_t)load_be32(data));
    for (pos = 4; pos + 8 <= len && !found; pos += 8 + 4u * data[pos + 7], nr++) {
        const uint8_t *d = &data[pos];

        if (at->has_group ? load_be16(&d[2]) == at->group : at->has_port && group_lists(d, len - pos, at->port))
            found = d;
    }
    if (!at->has_group && !at->has_port && nr == 1)
        found = &data[4];
    if (!found)
        return -ENOENT;
    if (!access_state_ok(found[0] & 0x0f))
        return -EPROTO;
    *out = (struct scsi_group){
        .state = found[0] & 0x0f,
        .preferred = found[0] & 0x80,
        .group = load_be16(&found[2]),
    };
    return 0;
}

/* ---- mode pages ------------------------------------------------------------------------------------------ */

int scsi_mode_parse(struct scsi_mode *out, const uint8_t *data, size_t len, bool ten)
{
    const size_t header = ten ? 8 : 4;
    struct scsi_mode m = { 0 };
    size_t at;
    uint8_t dev;

    if (len < header)
        return -EPROTO;
    len = min_len(len, ten ? 2u + load_be16(data) : 1u + data[0]);
    if (len < header)
        return -EPROTO;
    dev = data[ten ? 3 : 2];
    m.write_protect = dev & 0x80;
    m.dpofua = dev & 0x10;
    at = header + (ten ? load_be16(&data[6]) : data[3]);
    while (at + 2 <= len) {
        const bool sub = data[at] & 0x40;
        const size_t page_len = sub ? 4 + field(data, len, at + 2, 2) : 2u + data[at + 1];

        if (!sub && (data[at] & 0x3f) == 0x08 && at + 3 <= len && page_len >= 3) {
            m.has_caching = true;
            m.wce = data[at + 2] & 0x04;
            m.rcd = data[at + 2] & 0x01;
        }
        at += page_len;
    }
    *out = m;
    return 0;
}
