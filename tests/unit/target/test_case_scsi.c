/*
 * test_case_scsi.c - commands whose CDB, expected length and flags do not fit together, through a whole session
 */
#include "tgt_act.h"

static struct bed bed;
static uint8_t data[65536 * 2];

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 2);
    bed_disk(&bed);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 11 + (i >> 9));
    return 0;
}

static int fresh(void **state)
{
    (void)state;
    bed_settle(&bed, 0);
    return 0;
}

static int down(void **state)
{
    (void)state;
    bed_settle(&bed, 0);
    bed_stop(&bed);
    return 0;
}

static struct peer_end *ready(const char *keys)
{
    return peer_ready(&bed, 1, keys);
}

/* ---- flags and expected length --------------------------------------------------------------------------- */

/* R says that data are wanted; W that they come. One that reads and says W alone gets none, all of it is missing
 * in the residual count, and however much that is nobody is harmed. */
static void test_a_read_that_says_it_writes_gets_no_data(void **state)
{
    static const uint16_t blocks[] = { 1, 127, 128, 129, 1000, 4000 };
    struct peer_end *p = ready("ImmediateData=Yes");

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++) {
        const uint32_t len = blocks[i] * T_BLOCK, edtls[] = { 0, 512, len, len + 512 };

        for (unsigned k = 0; k < ARRAY_SIZE(edtls); k++) {
            uint8_t cdb[16];
            struct iscsi_pdu pdu;

            cdb_rw10(cdb, false, 0, blocks[i]);
            pdu = cmd_pdu(p, cdb, edtls[k], false, true);
            pdu.data_len = edtls[k] < 512 ? edtls[k] : 512;
            peer_send(p, &pdu, data);
            peer_expect(p, ISCSI_OP_SCSI_RESP);
            assert_int_equal(p->rsp.itt, pdu.itt);
        }
    }
    peer_serves(p);
    peer_logout(p);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup(fn, fresh)
    const struct CMUnitTest tests[] = {
        CASE(test_a_read_that_says_it_writes_gets_no_data),
    };

    return cmocka_run_group_tests(tests, up, down);
}
