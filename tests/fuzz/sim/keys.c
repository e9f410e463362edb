/*
 * keys.c - text from operations: mostly pairs that mean something, now and then bytes that do not
 */
#include <stdio.h>
#include <string.h>
#include "reactor/rt.h"
#include "tests/fuzz/sim/keys.h"

static const struct key_name {
    const char *name, *usual;
} names[] = {
    { "InitiatorName", FUZZ_INITIATOR },
    { "TargetName", FUZZ_TARGET },
    { "SessionType", "Normal" },
    { "AuthMethod", "CHAP,None" },
    { "HeaderDigest", "CRC32C,None" },
    { "DataDigest", "None,CRC32C" },
    { "MaxConnections", "4" },
    { "SendTargets", "All" },
    { "TargetAlias", "an alias" },
    { "InitiatorAlias", "another" },
    { "TargetAddress", "10.0.0.2:3260,1" },
    { "TargetPortalGroupTag", "1" },
    { "InitialR2T", "No" },
    { "ImmediateData", "Yes" },
    { "MaxRecvDataSegmentLength", "65536" },
    { "MaxBurstLength", "262144" },
    { "FirstBurstLength", "65536" },
    { "DefaultTime2Wait", "2" },
    { "DefaultTime2Retain", "0" },
    { "MaxOutstandingR2T", "4" },
    { "DataPDUInOrder", "Yes" },
    { "DataSequenceInOrder", "Yes" },
    { "ErrorRecoveryLevel", "0" },
    { "CHAP_A", "5,6,7,8" },
    { "CHAP_I", "17" },
    { "CHAP_C", "0x000102030405060708090a0b0c0d0e0f" },
    { "CHAP_N", FUZZ_USER },
    { "CHAP_R", "0x00112233445566778899aabbccddeeff" },
    { "iSCSIProtocolLevel", "1" },
    { "TaskReporting", "RFC3720" },
    { "OFMarker", "No" },
    { "IFMarkInt", "2048~8192" },
    { "X-com.example.key", "1" },
    { "X#Extension", "1" },
    { "NodeArchitecture", "host" },
    { "", "" },
};

static const char *const values[] = {
    "Yes", "No", "None", "CRC32C", "CRC32C,None", "None,CRC32C", "CHAP", "CHAP,None", "None,CHAP", "KRB5",
    "Reject", "Irrelevant", "NotUnderstood", "Normal", "Discovery", "All", "", ",", "5", "6", "7", "8",
    "7,8", "0", "00", "-1", "0x", "0b", "0x0", "4294967296", "18446744073709551616", "?", "=", FUZZ_TARGET,
    FUZZ_TARGET_CHAP, FUZZ_TARGET_GOOD, FUZZ_INITIATOR, FUZZ_INITIATOR_GOOD, "iqn.2026-01.fuzz:Disk",
    "eui.0123456789abcdef", "naa.0123456789abcdef0123456789abcdef", "iqn.", "10.0.0.2:3260,1", "10.0.0.3",
    "[fd00::2]:3260,1", "10.0.0.9:1,2", "no.such.host:3260,1", "[fe80::1%eth0]:3260,1",
    "[fe80::1%e]0]:3260", "10.0.0.2:99999", "10.0.0.2:3260,70000", "0.0.0.0:0", "255.255.255.255",
    FUZZ_USER, FUZZ_USER_OUT, "2048~8192", "RFC3720,ResponseFence", "0xzz", "0b====",
    "0bAAECAwQFBgcICQoLDA0ODw==",
};

void keys_add_raw(struct keys_text *t, const void *bytes, size_t len)
{
    const size_t room = sizeof(t->buf) - t->len;

    len = len < room ? len : room;
    if (len)
        memcpy(t->buf + t->len, bytes, len);
    t->len += (uint32_t)len;
}

void keys_add_pair(struct keys_text *t, const char *key, const char *value)
{
    keys_add_raw(t, key, strlen(key));
    keys_add_raw(t, "=", 1);
    keys_add_raw(t, value, strlen(value) + 1);
}

/* So many bytes of one letter. */
static void long_value(struct keys_text *t, const char *key, uint32_t len)
{
    keys_add_raw(t, key, strlen(key));
    keys_add_raw(t, "=", 1);
    for (len %= KEYS_TEXT_MAX + 1; len; len--)
        keys_add_raw(t, "a", 1);
    keys_add_raw(t, "", 1);
}

void keys_add(struct keys_text *t, struct op_args *a)
{
    const struct key_name *n = &names[arg_u8(a) % ARRAY_SIZE(names)];
    const unsigned how = arg_u8(a);
    const uint32_t number = arg_u32(a);
    const uint8_t *rest;
    char text[32];
    size_t len;

    switch (how % 8) {
    case 0:
    case 1:
    case 2:
        keys_add_pair(t, n->name, n->usual);
        return;
    case 3:
    case 4:
        keys_add_pair(t, n->name, values[number % ARRAY_SIZE(values)]);
        return;
    case 5:
        snprintf(text, sizeof(text), how & 8 ? "0x%x" : "%u", number);
        keys_add_pair(t, n->name, text);
        return;
    case 6:
        long_value(t, n->name, number);
        return;
    default:
        rest = arg_rest(a, &len);
        if (how & 8) {                      /* a value of these bytes */
            keys_add_raw(t, n->name, strlen(n->name));
            keys_add_raw(t, "=", 1);
        }
        keys_add_raw(t, rest, len);
        if (how & 16)
            keys_add_raw(t, "", 1);
        return;
    }
}
