/*
 * fuzz_answers.c - what an initiator reads: INQUIRY, VPD and mode pages, capacities, lists of LUNs and of target port
 * groups, sense data
 *
 * Input: which parser, how much it may write, and what the target answered. Texts are printable and end; numbers
 * are such that later arithmetic with them cannot wrap; nothing is written on a refusal.
 */
#include "scsi/cdb.h"
#include "scsi/scsi.h"
#include "tests/fuzz/fuzz.h"

#define UNTOUCHED(x) bytes_are(&(x), sizeof(x), 0xa5)

static bool bytes_are(const void *p, size_t n, uint8_t c)
{
    for (size_t i = 0; i < n; i++)
        if (((const uint8_t *)p)[i] != c)
            return false;
    return true;
}

/* A NUL within @room, and before it nothing a terminal or a path would take amiss. */
static void text_check(const char *s, size_t room, bool in_path)
{
    const char *end = memchr(s, '\0', room);

    fuzz_check(end);
    for (; s < end; s++)
        fuzz_check(*s >= (in_path ? '!' : ' ') && *s < 0x7f && (!in_path || *s != '/'));
}

static void inquiry_try(const uint8_t *data, size_t len)
{
    struct scsi_inquiry q;

    memset(&q, 0xa5, sizeof(q));
    if (scsi_inquiry_parse(&q, data, len)) {
        fuzz_check(UNTOUCHED(q));
        return;
    }
    text_check(q.vendor, sizeof(q.vendor), false);
    text_check(q.product, sizeof(q.product), false);
    text_check(q.revision, sizeof(q.revision), false);
    fuzz_check(q.qualifier < 8 && q.device_type < 32);
}

static void capacity_try(const uint8_t *data, size_t len, bool sixteen)
{
    struct scsi_capacity c;

    memset(&c, 0xa5, sizeof(c));
    if (sixteen ? scsi_capacity_16_parse(&c, data, len) : scsi_capacity_10_parse(&c, data, len)) {
        fuzz_check(UNTOUCHED(c));
        return;
    }
    fuzz_check(c.block_len >= 512 && c.block_len <= 65536 && !(c.block_len & (c.block_len - 1)));
    fuzz_check(c.phys_block_len >= c.block_len && !(c.phys_block_len & (c.phys_block_len - 1)));
    fuzz_check(c.blocks && c.blocks <= INT64_MAX / c.block_len);
}

static void luns_try(const uint8_t *data, size_t len, size_t max)
{
    uint16_t *luns = malloc(max * sizeof(*luns) + 1);
    int n;

    fuzz_check(luns);
    n = scsi_report_luns_parse(luns, max, data, len);
    fuzz_check(n <= (int)max && (n >= 0 || len < 8));
    for (int i = 0; i < n; i++)
        fuzz_check(luns[i] <= SCSI_LUN_MAX);
    free(luns);
}

static void id_try(const uint8_t *data, size_t len, int (*parse)(char *, const uint8_t *, size_t), bool in_path)
{
    char *id = malloc(SCSI_WWID_MAX);

    fuzz_check(id);
    memset(id, 0xa5, SCSI_WWID_MAX);
    if (parse(id, data, len))
        fuzz_check(bytes_are(id, SCSI_WWID_MAX, 0xa5));
    else
        text_check(id, SCSI_WWID_MAX, in_path);
    free(id);
}

static int vpd_83(char *out, const uint8_t *data, size_t len)
{
    return scsi_vpd_83_parse(out, data, len);
}

static int vpd_80(char *out, const uint8_t *data, size_t len)
{
    return scsi_vpd_80_parse(out, data, len);
}

static void port_try(const uint8_t *data, size_t len)
{
    struct scsi_port p;

    memset(&p, 0xa5, sizeof(p));
    if (scsi_vpd_83_port(&p, data, len))
        fuzz_check(UNTOUCHED(p));
    else
        fuzz_check(p.has_group || p.has_port);
}

/* Looked for by group, by port, and by neither. */
static void groups_try(const uint8_t *data, size_t len, uint8_t which)
{
    const struct scsi_port ports[] = {
        { .has_group = true, .group = which }, { .has_port = true, .port = which }, { .has_group = false }
    };

    for (unsigned i = 0; i < 3; i++) {
        struct scsi_group g;

        memset(&g, 0xa5, sizeof(g));
        if (scsi_groups_parse(&g, &ports[i], data, len)) {
            fuzz_check(UNTOUCHED(g));
            continue;
        }
        fuzz_check(g.state <= 4 || g.state == 14 || g.state == 15);
        fuzz_check(len >= 12 && (i || g.group == which));
    }
}

static void limits_try(const uint8_t *data, size_t len, uint8_t page)
{
    struct scsi_limits l;
    int err[3];

    memset(&l, 0xa5, sizeof(l));
    err[0] = scsi_vpd_b0_parse(&l, data, len);
    err[1] = scsi_vpd_b1_parse(&l, data, len);
    err[2] = scsi_vpd_b2_parse(&l, data, len);
    if (err[0] && err[1] && err[2])
        fuzz_check(UNTOUCHED(l));
    fuzz_check(!!err[0] + !!err[1] + !!err[2] >= 2);    /* a page is one of them */
    if (scsi_vpd_00_has(data, len, page))
        fuzz_check(len > 4 && memchr(data + 4, page, len - 4));
}

static void mode_try(const uint8_t *data, size_t len, bool ten)
{
    struct scsi_mode m;

    memset(&m, 0xa5, sizeof(m));
    if (scsi_mode_parse(&m, data, len, ten))
        fuzz_check(UNTOUCHED(m));
    else
        fuzz_check(m.has_caching || (!m.wce && !m.rcd));
}

static bool sense_same(const struct scsi_sense *a, const struct scsi_sense *b)
{
    return a->key == b->key && a->asc == b->asc && a->ascq == b->ascq && a->has_info == b->has_info &&
           a->info == b->info && a->has_field == b->has_field && a->field_in_cdb == b->field_in_cdb &&
           a->field == b->field && a->bit == b->bit;
}

static void sense_try(const uint8_t *data, size_t len)
{
    struct scsi_sense s, again;
    uint8_t wire[32];
    char text[96];
    uint32_t n;

    memset(&s, 0xa5, sizeof(s));
    if (scsi_sense_decode(&s, data, len)) {
        fuzz_check(UNTOUCHED(s));
        return;
    }
    scsi_sense_format(&s, text);
    text_check(text, sizeof(text), false);
    for (int descriptor = 0; descriptor < 2; descriptor++) {
        n = scsi_sense_encode(wire, &s, descriptor);
        fuzz_check(n <= sizeof(wire) && !scsi_sense_decode(&again, wire, n));
        if (!descriptor && s.info > UINT32_MAX)         /* no room for it there: left out */
            again.has_info = s.has_info, again.info = s.info;
        fuzz_check(sense_same(&s, &again));
    }
}

static void lun_try(struct fuzz_in *in)
{
    const uint64_t hi = fuzz_u32(in), raw = hi << 32 | fuzz_u32(in);
    uint16_t lun, again;

    if (scsi_lun_decode(raw, &lun))
        return;
    fuzz_check(lun <= SCSI_LUN_MAX || lun == SCSI_LUN_WELL_KNOWN);
    if (lun != SCSI_LUN_WELL_KNOWN)
        fuzz_check(!scsi_lun_decode(scsi_lun_encode(lun), &again) && again == lun);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = { data, size };
    const uint8_t which = fuzz_u8(&in) % 11, max = fuzz_u8(&in);
    uint8_t *answer = fuzz_copy(in.at, in.left);
    const size_t len = in.left;

    fuzz_check(*scsi_status_name(max) && *scsi_op_name(max));
    switch (which) {
    case 0:  inquiry_try(answer, len); break;
    case 1:  capacity_try(answer, len, false); break;
    case 2:  capacity_try(answer, len, true); break;
    case 3:
        luns_try(answer, len, max);
        groups_try(answer, len, max);
        break;
    case 4:
        id_try(answer, len, vpd_83, true);
        port_try(answer, len);
        break;
    case 5:  id_try(answer, len, vpd_80, false); break;
    case 6:  limits_try(answer, len, max); break;
    case 7:  mode_try(answer, len, false); break;
    case 8:  mode_try(answer, len, true); break;
    case 9:  sense_try(answer, len); break;
    case 10: lun_try(&in); break;
    }
    free(answer);
    return 0;
}
