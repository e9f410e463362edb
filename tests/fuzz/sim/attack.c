/*
 * attack.c - commands, data, task management and worse
 */
#include <string.h>
#include "scsi/scsi.h"
#include "tests/fuzz/sim/attack.h"

static const uint16_t luns[] = { 0, 1, 2, 3, 300, 4, 256, 0x3fff };

static uint64_t lun_of(uint8_t n)
{
    if (n >= 0xf8)                          /* addresses of other kinds */
        return (uint64_t)n << 56 | n;
    return scsi_lun_encode(luns[n % ARRAY_SIZE(luns)]);
}

struct peer *attack_peer(struct attack *x, struct op_args *a)
{
    return &x->peer[arg_u8(a) % ATTACK_PEERS];
}

/* ---- commands -------------------------------------------------------------------------------------------- */

/* Opcodes with the place of LBA and count. */
static const struct cdb_kind {
    uint8_t op, sa, lba_at, lba_len, count_at, count_len;
    bool read, write;
} cdbs[] = {
    { SCSI_READ_10,           0, 2, 4, 7, 2, true, false },
    { SCSI_WRITE_10,          0, 2, 4, 7, 2, false, true },
    { SCSI_READ_16,           0, 2, 8, 10, 4, true, false },
    { SCSI_WRITE_16,          0, 2, 8, 10, 4, false, true },
    { SCSI_READ_6,            0, 2, 2, 4, 1, true, false },
    { SCSI_WRITE_6,           0, 2, 2, 4, 1, false, true },
    { SCSI_READ_12,           0, 2, 4, 6, 4, true, false },
    { SCSI_WRITE_12,          0, 2, 4, 6, 4, false, true },
    { SCSI_WRITE_VERIFY_10,   0, 2, 4, 7, 2, false, true },
    { SCSI_WRITE_VERIFY_16,   0, 2, 8, 10, 4, false, true },
    { SCSI_VERIFY_10,         2, 2, 4, 7, 2, false, true },
    { SCSI_VERIFY_16,         0, 2, 8, 10, 4, false, false },
    { SCSI_COMPARE_AND_WRITE, 0, 2, 8, 13, 1, false, true },
    { SCSI_ORWRITE_16,        0, 2, 8, 10, 4, false, true },
    { SCSI_WRITE_ATOMIC_16,   0, 2, 8, 12, 2, false, true },
    { SCSI_WRITE_SAME_10,     0, 2, 4, 7, 2, false, true },
    { SCSI_WRITE_SAME_16,     0, 2, 8, 10, 4, false, true },
    { SCSI_SYNC_CACHE_10,     0, 2, 4, 7, 2, false, false },
    { SCSI_SYNC_CACHE_16,     0, 2, 8, 10, 4, false, false },
    { SCSI_PREFETCH_10,       0, 2, 4, 7, 2, false, false },
    { SCSI_TEST_UNIT_READY,   0, 2, 0, 4, 0, false, false },
    { SCSI_REQUEST_SENSE,     0, 2, 0, 4, 1, true, false },
    { SCSI_INQUIRY,           0, 2, 0, 3, 2, true, false },
    { SCSI_INQUIRY,           1, 2, 1, 3, 2, true, false },
    { SCSI_MODE_SENSE_6,      0, 2, 1, 4, 1, true, false },
    { SCSI_MODE_SENSE_10,     0, 2, 1, 7, 2, true, false },
    { SCSI_READ_CAPACITY_10,  0, 2, 0, 7, 0, true, false },
    { SCSI_SERVICE_IN_16,  0x10, 2, 0, 10, 4, true, false },
    { SCSI_SERVICE_IN_16,  0x12, 2, 8, 10, 4, true, false },
    { SCSI_REPORT_LUNS,       0, 2, 1, 6, 4, true, false },
    { SCSI_MAINTENANCE_IN, 0x0a, 2, 0, 6, 4, true, false },
    { SCSI_MAINTENANCE_IN, 0x0c, 2, 2, 6, 4, true, false },
    { SCSI_MAINTENANCE_IN, 0x0d, 2, 0, 6, 4, true, false },
    { SCSI_LOG_SENSE,         0, 2, 1, 7, 2, true, false },
    { SCSI_READ_DEFECT_10,    0, 2, 1, 7, 2, true, false },
    { SCSI_PR_IN,             0, 2, 0, 7, 2, true, false },
    { SCSI_PR_IN,             1, 2, 0, 7, 2, true, false },
    { SCSI_PR_IN,             3, 2, 0, 7, 2, true, false },
    { SCSI_RESERVE_6,         0, 2, 0, 4, 0, false, false },
    { SCSI_RELEASE_6,         0, 2, 0, 4, 0, false, false },
    { SCSI_RESERVE_10,        0, 2, 0, 7, 0, false, false },
    { SCSI_START_STOP_UNIT,   0, 4, 1, 4, 0, false, false },
    { SCSI_PREVENT_ALLOW,     0, 4, 1, 4, 0, false, false },
    { SCSI_SEND_DIAGNOSTIC,   4, 2, 0, 4, 0, false, false },
};

/* Each unit's first word is a unit attention: it is taken before anything that is meant. */
static void settle(struct peer *p)
{
    uint8_t bhs[ISCSI_BHS_LEN];

    if (!p->login.target)
        return;
    for (unsigned i = 0; i < 5; i++) {
        peer_bhs(p, bhs, ISCSI_OP_SCSI_CMD, false);
        store_be64(&bhs[8], scsi_lun_encode(luns[i]));
        peer_send(p, bhs, NULL, 0, NULL, 0);
    }
}

static void be_put(uint8_t *at, uint64_t v, unsigned len)
{
    while (len--)
        *at++ = (uint8_t)(v >> 8 * len);
}

/* Sends a command with what of its data goes along: bits 0-1 of @how: nothing, some, or all of it immediate; bit 2:
 * F is left out and unsolicited data follow. R2Ts are answered with the pattern. */
static void cmd_send(struct peer *p, uint8_t bhs[static ISCSI_BHS_LEN], const void *ahs, uint32_t ahs_len,
                     const uint8_t *data, uint32_t all, uint8_t how)
{
    const bool write = bhs[1] & 0x20;
    uint32_t len = !write || !(how & 3) ? 0 : all;
    uint8_t out[ISCSI_BHS_LEN];

    if (len > 8192)
        len = 8192;
    if (how & 1 && len > 512 && !(how & 2))
        len = 512;
    if (write && how & 4)
        bhs[1] &= 0x7f;
    peer_expect(p, load_be32(&bhs[16]), load_be32(&bhs[20]));
    peer_send(p, bhs, ahs, ahs_len, data, len);
    if (!write || !(how & 4))
        return;
    peer_bhs(p, out, ISCSI_OP_DATA_OUT, true);
    out[0] = ISCSI_OP_DATA_OUT;
    memcpy(&out[8], &bhs[8], 8);
    memcpy(&out[16], &bhs[16], 4);
    store_be32(&out[20], ISCSI_TAG_RESERVED);
    store_be32(&out[24], 0);
    store_be32(&out[40], len);
    p->itt--;
    all = all > len ? all - len : 0;
    peer_send(p, out, NULL, 0, data + len, all < 8192 ? all : 8192);
}

/* A command's header with numbers shifted as told. */
static void cmd_bhs(struct peer *p, uint8_t bhs[static ISCSI_BHS_LEN], uint8_t flags, uint8_t lun,
                    uint8_t cmd_sn, uint8_t tag)
{
    peer_bhs(p, bhs, ISCSI_OP_SCSI_CMD, flags & 0x08);
    bhs[1] = (uint8_t)(0x80 | (flags & 0x60) | (flags & 7 ? flags & 7 : ISCSI_ATTR_SIMPLE));
    store_be64(&bhs[8], lun_of(lun));
    store_be32(&bhs[24], load_be32(&bhs[24]) + (uint32_t)(int8_t)cmd_sn);
    if (tag)
        store_be32(&bhs[16], p->itt - tag % 8);
}

static void do_cmd(struct peer *p, struct op_args *a)
{
    static const uint8_t zeroes[65536];
    const struct cdb_kind *k = &cdbs[arg_u8(a) % ARRAY_SIZE(cdbs)];
    const uint8_t lun = arg_u8(a);
    const uint16_t lba = arg_u16(a);
    const uint8_t blocks = arg_u8(a), how = arg_u8(a), cmd_sn = arg_u8(a), tag = arg_u8(a), edtl = arg_u8(a),
                  attr = arg_u8(a);
    const uint32_t block_len = lun % ARRAY_SIZE(luns) == 1 ? 4096 : 512;
    uint8_t bhs[ISCSI_BHS_LEN];
    bool counts_blocks;
    uint32_t len;

    cmd_bhs(p, bhs, (uint8_t)((k->read ? 0x40 : 0) | (k->write ? 0x20 : 0) | (attr & 0x6f)), lun, cmd_sn, tag);
    bhs[32] = k->op;
    bhs[33] = k->sa;
    be_put(&bhs[32 + k->lba_at], lba % 160 == 159 ? ~0ull - lba : lba % 160, k->lba_len);
    /* Without an LBA, or with a page in its place, the count is bytes. */
    counts_blocks = k->lba_len >= 4 || k->op == SCSI_READ_6 || k->op == SCSI_WRITE_6;
    be_put(&bhs[32 + k->count_at], counts_blocks ? blocks : blocks * 8u, k->count_len);
    len = counts_blocks ? blocks * block_len : blocks * 8u;
    if (k->op == SCSI_COMPARE_AND_WRITE)
        len *= 2;
    if (k->op == SCSI_WRITE_SAME_10 || k->op == SCSI_WRITE_SAME_16)
        len = block_len;
    if (!(bhs[1] & 0x60))
        len = 0;
    if (edtl)                               /* less, more, or all that there is */
        len = edtl < 128 ? len / (edtl + 1) : edtl < 255 ? len + edtl * 64u : 0xfffffff;
    if (how & 0x80)
        bhs[33] |= (uint8_t)(how & 0x18);   /* DPO, FUA */
    store_be32(&bhs[20], len);
    /* Zeroes are what a fresh unit holds: COMPARE AND WRITE and VERIFY like them. */
    cmd_send(p, bhs, NULL, 0, how & 0x40 ? zeroes : peer_pattern() + lba % 512, len < 65536 ? len : 65536, how);
}

static void do_cdb(struct peer *p, struct op_args *a)
{
    const uint8_t flags = arg_u8(a);
    const uint16_t edtl = arg_u16(a);
    const uint8_t lun = arg_u8(a);
    uint8_t bhs[ISCSI_BHS_LEN], ahs[ISCSI_AHS_LEN_MAX] = { 0 };
    uint32_t ahs_len = 0;
    const uint8_t *cdb;
    size_t n;

    cmd_bhs(p, bhs, flags & 0x6f, lun, 0, 0);
    cdb = arg_rest(a, &n);
    memcpy(&bhs[32], cdb, n < 16 ? n : 16);
    if (n > 16 && flags & 0x80) {           /* an AHS as it is */
        ahs_len = (uint32_t)(n - 16) & ~3u;
        memcpy(ahs, cdb + 16, ahs_len);
    } else if (n > 16) {                    /* a CDB longer than its place */
        store_be16(ahs, (uint16_t)(n - 16 + 1));
        ahs[2] = ISCSI_AHS_ECDB;
        memcpy(ahs + 4, cdb + 16, n - 16);
        ahs_len = (uint32_t)(4 + n - 16 + 3) & ~3u;
    }
    store_be32(&bhs[20], edtl);
    cmd_send(p, bhs, ahs, ahs_len, peer_pattern(), edtl, flags >> 4 & 1 ? 5 : 2);
}

/* ---- parameter lists ------------------------------------------------------------------------------------- */

static void do_param(struct peer *p, struct op_args *a)
{
    const uint8_t which = arg_u8(a), lun = arg_u8(a), sa = arg_u8(a);
    const uint32_t key = arg_u32(a);
    uint8_t bhs[ISCSI_BHS_LEN], list[64] = { 0 };
    const uint8_t *rest;
    uint32_t len;
    size_t n;

    cmd_bhs(p, bhs, 0x20, lun, 0, 0);
    rest = arg_rest(a, &n);
    switch (which % 4) {
    case 0:                                 /* PERSISTENT RESERVE OUT */
        bhs[32] = SCSI_PR_OUT;
        bhs[33] = sa & 7;
        bhs[34] = sa >> 3 & 0x0f;
        store_be64(list, key & 0x100 ? 0 : key & 3);
        store_be64(list + 8, key >> 2 & 3);
        list[20] = (uint8_t)(key >> 4 & 0x0d);
        len = 24;
        store_be32(&bhs[32 + 5], len);
        break;
    case 1:                                 /* UNMAP */
        bhs[32] = SCSI_UNMAP;
        len = 24;
        store_be16(list, 22);
        store_be16(list + 2, 16);
        store_be64(list + 8, key & 127);
        store_be32(list + 16, sa);
        store_be16(&bhs[32 + 7], (uint16_t)len);
        break;
    case 2:                                 /* MODE SELECT (6) and (10) */
        bhs[32] = sa & 1 ? SCSI_MODE_SELECT_10 : SCSI_MODE_SELECT_6;
        bhs[33] = 0x10;
        len = sa & 1 ? 28 : 24;
        list[len - 20] = sa & 2 ? 0x0a : 0x08;
        list[len - 19] = sa & 2 ? 0x0a : 18;
        list[len - 18] = (uint8_t)key;
        list[len - 17] = (uint8_t)(key >> 8);
        len = sa & 2 ? len - 8 : len;
        if (sa & 1)
            store_be16(&bhs[32 + 7], (uint16_t)len);
        else
            bhs[32 + 4] = (uint8_t)len;
        break;
    default:                                /* REGISTER AND MOVE, or a list of bytes */
        bhs[32] = SCSI_PR_OUT;
        bhs[33] = sa & 0x1f;
        len = 64;
        store_be64(list, key & 3);
        store_be64(list + 8, key >> 2 & 3);
        store_be32(list + 20, 40);
        list[24] = 0x05;
        list[27] = 36;
        memcpy(list + 28, FUZZ_INITIATOR, sizeof(FUZZ_INITIATOR));
        store_be32(&bhs[32 + 5], len);
        break;
    }
    for (size_t i = 0; i + 1 < n; i += 2)   /* then some of it is spoiled */
        list[rest[i] % sizeof(list)] = rest[i + 1];
    store_be32(&bhs[20], len);
    cmd_send(p, bhs, NULL, 0, list, len, 2);
}

/* ---- the rest -------------------------------------------------------------------------------------------- */

static void do_data_out(struct peer *p, struct op_args *a)
{
    const uint8_t which = arg_u8(a);
    const uint16_t off = arg_u16(a), len = arg_u16(a);
    const struct peer_r2t r = p->r2t[which % PEER_R2TS];
    uint8_t bhs[ISCSI_BHS_LEN];

    peer_bhs(p, bhs, ISCSI_OP_DATA_OUT, true);
    p->itt--;
    bhs[0] = ISCSI_OP_DATA_OUT;
    store_be64(&bhs[8], r.lun);
    store_be32(&bhs[16], which & 0x80 ? p->itt - which % 8 : r.itt);
    store_be32(&bhs[20], which & 0x40 ? ISCSI_TAG_RESERVED : r.ttt + (which >> 5 & 1));
    store_be32(&bhs[24], 0);
    store_be32(&bhs[36], arg_u8(a));
    store_be32(&bhs[40], r.off + off);
    bhs[1] = arg_u8(a) & 1 ? 0 : 0x80;
    peer_send(p, bhs, NULL, 0, peer_pattern(), len);
}

static void do_tmf(struct peer *p, struct op_args *a)
{
    const uint8_t function = arg_u8(a), tag = arg_u8(a), cmd_sn = arg_u8(a), lun = arg_u8(a), how = arg_u8(a);
    uint8_t bhs[ISCSI_BHS_LEN];

    peer_bhs(p, bhs, ISCSI_OP_TMF, !(how & 1));
    bhs[1] = (uint8_t)(0x80 | function % 10);
    store_be64(&bhs[8], lun_of(lun));
    store_be32(&bhs[20], tag < 128 ? p->itt - 1 - tag % 8 : ISCSI_TAG_RESERVED);
    store_be32(&bhs[32], p->cmd_sn - 1 - tag % 8 + (uint32_t)(how >> 2));
    store_be32(&bhs[24], load_be32(&bhs[24]) + (uint32_t)(int8_t)cmd_sn);
    peer_send(p, bhs, NULL, 0, NULL, 0);
}

static void do_nop(struct peer *p, struct op_args *a)
{
    const uint8_t how = arg_u8(a);
    const uint32_t len = arg_u16(a);
    uint8_t bhs[ISCSI_BHS_LEN];

    peer_bhs(p, bhs, ISCSI_OP_NOP_OUT, how & 1);
    if (how & 2)
        store_be32(&bhs[16], ISCSI_TAG_RESERVED);
    store_be32(&bhs[20], how & 4 ? p->ttt : ISCSI_TAG_RESERVED);
    store_be32(&bhs[24], load_be32(&bhs[24]) + (uint32_t)(int8_t)arg_u8(a));
    peer_send(p, bhs, NULL, 0, peer_pattern(), len);
}

static void do_text(struct peer *p, struct op_args *a)
{
    const uint8_t flags = arg_u8(a), ttt = arg_u8(a);
    uint8_t bhs[ISCSI_BHS_LEN];

    peer_bhs(p, bhs, ISCSI_OP_TEXT, flags & 1);
    bhs[1] = flags & 2 ? flags & 0xc0 : 0x80;
    store_be32(&bhs[20], ttt & 1 ? p->ttt : ttt & 2 ? ttt : ISCSI_TAG_RESERVED);
    store_be32(&bhs[24], load_be32(&bhs[24]) + (uint32_t)(int8_t)arg_u8(a));
    if (ttt & 4)
        store_be32(&bhs[16], p->itt - 1);
    if (!p->text.len && !(flags & 4))
        keys_add_pair(&p->text, "SendTargets", flags & 8 ? "" : "All");
    if (memmem(p->text.buf, p->text.len, "MaxRecv", 7))
        p->recv_max = 0;                    /* declared anew, as far as the target makes sense of it */
    peer_send(p, bhs, NULL, 0, p->text.buf, p->text.len);
    p->text.len = 0;
}

static void do_logout(struct peer *p, struct op_args *a)
{
    const uint8_t reason = arg_u8(a), cmd_sn = arg_u8(a), how = arg_u8(a);
    uint8_t bhs[ISCSI_BHS_LEN];

    peer_bhs(p, bhs, ISCSI_OP_LOGOUT, how & 1);
    bhs[1] = (uint8_t)(0x80 | reason);
    store_be16(&bhs[20], how >> 4);
    store_be32(&bhs[24], load_be32(&bhs[24]) + (uint32_t)(int8_t)cmd_sn);
    peer_send(p, bhs, NULL, 0, NULL, 0);
}

static void do_snack(struct peer *p, struct op_args *a)
{
    uint8_t bhs[ISCSI_BHS_LEN];

    peer_bhs(p, bhs, ISCSI_OP_SNACK, true);
    bhs[0] = ISCSI_OP_SNACK;
    bhs[1] = (uint8_t)(0x80 | (arg_u8(a) & 0x0f));
    store_be32(&bhs[40], arg_u32(a));
    store_be32(&bhs[44], arg_u32(a));
    peer_send(p, bhs, NULL, 0, NULL, 0);
}

static void do_raw(struct peer *p, struct op_args *a)
{
    uint8_t bhs[ISCSI_BHS_LEN];
    const uint8_t op = arg_u8(a);
    const uint8_t *rest;
    size_t n;

    peer_bhs(p, bhs, op & 0x3f, op & 0x40);
    bhs[0] = op;
    rest = arg_rest(a, &n);
    for (size_t i = 0; i + 1 < n; i += 2)
        bhs[rest[i] % sizeof(bhs)] = rest[i + 1];
    peer_lenient(p);
    wire_send(&p->w, bhs, NULL, 0, peer_pattern(), load_be24(&bhs[5]) < 65536 ? load_be24(&bhs[5]) : 0);
}

static void do_flood(struct peer *p, struct op_args *a)
{
    const uint8_t lun = arg_u8(a);
    unsigned n = arg_u8(a) * 24u;
    uint8_t bhs[ISCSI_BHS_LEN];

    for (n = n < 400 ? n : 400; n; n--) {
        cmd_bhs(p, bhs, 0x40, lun, 0, 0);
        bhs[32] = SCSI_READ_10;
        bhs[32 + 8] = 8;
        store_be32(&bhs[20], 4096);
        cmd_send(p, bhs, NULL, 0, NULL, 0, 0);
    }
}

static void do_open(struct attack *x, struct peer *p, struct op_args *a)
{
    static const uint32_t recv[] = { 8192, 65536, 512, 262144 };
    const uint8_t isid = arg_u8(a), who = arg_u8(a), how = arg_u8(a);
    const struct peer_login l = {
        .initiator = who & 1 ? FUZZ_INITIATOR "2" : FUZZ_INITIATOR,
        .target = (who & 0x0e) == 0x0e ? NULL : (who & 0x0e) == 0x0c ? FUZZ_TARGET_GOOD : FUZZ_TARGET,
        .isid = isid % 4,
        .digests = how & 1,
        .initial_r2t = how & 2,
        .immediate_data = !(how & 4),
        .recv_max = recv[how >> 3 & 3],
    };

    if (!peer_idle(p))
        peer_close(p);
    if (peer_idle(p))
        peer_open(p, &x->portal, &l);
}

void attack_do(struct attack *x, struct op *op)
{
    struct op_args *a = &op->args;
    struct peer *p = attack_peer(x, a);

    switch ((enum attack_op)op->kind) {
    case ATTACK_OPEN:     do_open(x, p, a);                        break;
    case ATTACK_CMD:      do_cmd(p, a);                            break;
    case ATTACK_CDB:      do_cdb(p, a);                            break;
    case ATTACK_PARAM:    do_param(p, a);                          break;
    case ATTACK_DATA_OUT: do_data_out(p, a);                       break;
    case ATTACK_TMF:      do_tmf(p, a);                            break;
    case ATTACK_NOP:      do_nop(p, a);                            break;
    case ATTACK_TEXT:     do_text(p, a);                           break;
    case ATTACK_KEY:      keys_add(&p->text, a);                   break;
    case ATTACK_LOGOUT:   do_logout(p, a);                         break;
    case ATTACK_SNACK:    do_snack(p, a);                          break;
    case ATTACK_LOGIN:    peer_login_send(p, arg_u8(a), 0, 0);     break;
    case ATTACK_RAW:      do_raw(p, a);                            break;
    case ATTACK_SPOIL:
        p->w.spoil.at = arg_u8(a);
        p->w.spoil.bits = arg_u8(a);
        p->w.spoil.after = arg_u8(a) & 1;
        peer_lenient(p);
        break;
    case ATTACK_MANUAL:   p->auto_data = arg_u8(a) & 1;            break;
    case ATTACK_ANSWER:   peer_answer_r2t(p);                      break;
    case ATTACK_DEAF:     wire_listen(&p->w, arg_u8(a) & 1);       break;
    case ATTACK_CHUNK:    p->w.chunk = arg_u8(a);                  break;
    case ATTACK_CMD_SN:   p->cmd_sn += (uint32_t)(int8_t)arg_u8(a); break;
    case ATTACK_CLOSE:    peer_close(p);                           break;
    case ATTACK_FLOOD:    do_flood(p, a);                          break;
    default:
        break;
    }
}

void attack_init(struct attack *x, struct rt *rt, const struct rt_addr *portal)
{
    for (unsigned i = 0; i < ATTACK_PEERS; i++) {
        peer_init(&x->peer[i], rt);
        x->peer[i].full = settle;
    }
    x->portal = *portal;
}
