/*
 * fuzz_pdu.c - headers of PDUs and the segments after them
 *
 * Input: who sent it, 48 bytes of header, and a CDB's additional header segments. What is refused leaves no
 * trace; what is taken can be written again, and means the same.
 */
#include "iscsi/pdu.h"
#include "tests/fuzz/fuzz.h"

static void header_try(const uint8_t *wire, enum iscsi_from from)
{
    struct iscsi_pdu p, untouched, again;
    uint8_t first[ISCSI_BHS_LEN], second[ISCSI_BHS_LEN];
    enum iscsi_reject r;

    memset(&p, 0xa5, sizeof(p));
    memset(&untouched, 0xa5, sizeof(untouched));
    r = iscsi_pdu_decode(&p, wire, from);
    if (r != ISCSI_REJECT_NONE) {
        fuzz_check(r == ISCSI_REJECT_NOT_SUPPORTED || r == ISCSI_REJECT_PROTOCOL_ERROR ||
                   r == ISCSI_REJECT_INVALID_FIELD);
        fuzz_check(!memcmp(&p, &untouched, sizeof(p)));
        return;
    }
    fuzz_check(p.data_len == iscsi_bhs_data_len(wire) && p.ahs_len == iscsi_bhs_ahs_len(wire));
    iscsi_pdu_encode(first, &p);
    fuzz_check(iscsi_pdu_decode(&again, first, from) == ISCSI_REJECT_NONE);
    fuzz_check(!memcmp(&p, &again, sizeof(p)));
    iscsi_pdu_encode(second, &again);
    fuzz_check(!memcmp(first, second, sizeof(first)));
    /* The other side's opcodes are no language of this side's. */
    fuzz_check(iscsi_pdu_decode(&again, first,
                                from == ISCSI_FROM_TARGET ? ISCSI_FROM_INITIATOR : ISCSI_FROM_TARGET) !=
               ISCSI_REJECT_NONE);
}

/* Whatever number a peer sends, a message about it says something. */
static void names_try(const uint8_t *wire)
{
    const char *advice = NULL;

    fuzz_check(*iscsi_opcode_name(wire[0]) && *iscsi_reject_name(wire[2]) && *iscsi_tmf_name(wire[1]));
    fuzz_check(*iscsi_login_status_text((unsigned)wire[36] << 8 | wire[37], &advice) && advice);
}

static void segments_try(const uint8_t *cdb16, const uint8_t *ahs, size_t len)
{
    uint8_t cdb[260], untouched[260], *exact = fuzz_copy(ahs, len);
    uint32_t cdb_len = 7, bidi = 7;

    memset(cdb, 0xa5, sizeof(cdb));
    memset(untouched, 0xa5, sizeof(untouched));
    if (iscsi_ahs_cdb(cdb16, exact, (uint32_t)len, cdb, &cdb_len, &bidi) != ISCSI_REJECT_NONE) {
        fuzz_check(cdb_len == 7 && bidi == 7 && !memcmp(cdb, untouched, sizeof(cdb)));
    } else {
        fuzz_check(cdb_len >= 16 && cdb_len <= sizeof(cdb));
        fuzz_check(!memcmp(cdb, cdb16, 16));
        fuzz_check(!memcmp(cdb + cdb_len, untouched, sizeof(cdb) - cdb_len));
    }
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = { data, size };
    uint8_t wire[ISCSI_BHS_LEN] = { 0 };
    const enum iscsi_from from = fuzz_u8(&in) & 1 ? ISCSI_FROM_TARGET : ISCSI_FROM_INITIATOR;
    const uint8_t *bytes;
    size_t n;

    bytes = fuzz_bytes(&in, sizeof(wire), &n);
    if (n)
        memcpy(wire, bytes, n);
    header_try(wire, from);
    names_try(wire);
    bytes = fuzz_bytes(&in, ISCSI_AHS_LEN_MAX, &n);
    segments_try(&wire[32], bytes, n);
    return 0;
}
