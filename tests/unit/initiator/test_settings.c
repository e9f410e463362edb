/*
 * test_settings.c - settings, iscsid.conf, node records and the initiator's name, right and wrong
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "initiator/record.h"

static char dir[64];

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/corelane-rec.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    char cmd[128];

    (void)state;
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
    return system(cmd);
}

static void put(const char *name, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    fclose(f);
}

static const char *get(const char *name)
{
    static char text[8192];
    char path[512];
    size_t n;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "r");
    if (!f)
        return NULL;
    n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = '\0';
    fclose(f);
    return text;
}

static unsigned mode_of(const char *name)
{
    char path[512];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return stat(path, &st) ? 0 : st.st_mode & 0777;
}

/* ---- settings ------------------------------------------------------------------------------------------- */

static void test_defaults_are_open_iscsi_s(void **state)
{
    struct ini_settings s;

    (void)state;
    ini_settings_default(&s);
    assert_int_equal(s.replacement_timeout_s, 120);
    assert_int_equal(s.burst_max, 16776192);
    assert_int_equal(s.immediate_data, 1);
    assert_int_equal(s.initial_r2t, 0);
    assert_int_equal(s.cmd_timeout_s, 30);
    assert_int_equal(s.transport, INI_TRANSPORT_AUTO);
    assert_int_equal(s.arena_mib, 32);
    assert_int_equal(s.user.name[0], 0);
}

static void test_each_bound_holds_at_the_limit_and_one_past_it(void **state)
{
    static const struct {
        const char *key, *good, *bad;
    } rows[] = {
        { "node.session.timeo.replacement_timeout", "-1", "-2" },
        { "node.session.timeo.replacement_timeout", "86400", "86401" },
        { "node.session.cmds_max", "2", "1" },
        { "node.session.cmds_max", "2048", "2049" },
        { "node.session.queue_depth", "1024", "1025" },
        { "node.session.iscsi.FirstBurstLength", "512", "511" },
        { "node.session.iscsi.MaxBurstLength", "16777215", "16777216" },
        { "node.conn[0].timeo.login_timeout", "1", "0" },
        { "node.conn[0].timeo.noop_out_interval", "0", "-1" },
        { "node.conn[0].timeo.noop_out_interval", "5", "5s" },
        { "node.conn[0].timeo.noop_out_interval", "5", "" },
        { "node.conn[0].timeo.noop_out_interval", "5", "+5" },
        { "node.conn[0].timeo.noop_out_interval", "5", "99999999999999999999" },
        { "node.session.iscsi.InitialR2T", "Yes", "yes" },
        { "node.session.iscsi.ImmediateData", "No", "0" },
        { "node.conn[0].iscsi.HeaderDigest", "CRC32C,None", "CRC32C,,None" },
        { "node.conn[0].iscsi.DataDigest", "None", "CRC32" },
        { "node.session.corelane.transport", "auto", "Auto" },
        { "node.session.corelane.transport", "tcp", "rdma" },
        { "node.session.corelane.transport", "shm", "" },
        { "node.session.corelane.arena_mib", "16", "8" },
        { "node.session.corelane.arena_mib", "1024", "1032" },
        { "node.session.corelane.arena_mib", "24", "25" },
        { "node.session.corelane.arena_mib", "32", "32M" },
        { "node.session.auth.authmethod", "CHAP", "PAP" },
        { "node.session.auth.chap_algs", "SHA3-256,MD5", "SHA3-256,MD4" },
        { "node.session.auth.chap_algs", "SHA1", ",SHA1" },
        { "node.session.auth.password", "123456789012", "12345678901" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct ini_settings s, before;

        ini_settings_default(&s);
        before = s;
        assert_non_null(ini_settings_set(&s, rows[i].key, rows[i].bad));
        assert_ptr_not_equal(ini_settings_set(&s, rows[i].key, rows[i].bad), INI_KEY_UNKNOWN);
        assert_memory_equal(&s, &before, sizeof(s));        /* a refusal changes nothing */
        assert_null(ini_settings_set(&s, rows[i].key, rows[i].good));
    }
}

static void test_secrets_of_both_directions_differ(void **state)
{
    struct ini_settings s;

    (void)state;
    ini_settings_default(&s);
    assert_null(ini_settings_set(&s, "node.session.auth.password", "a-secret-of-16by"));
    assert_non_null(ini_settings_set(&s, "node.session.auth.password_in", "a-secret-of-16by"));
    assert_null(ini_settings_set(&s, "node.session.auth.password_in", "b-secret-of-16by"));
}

static void test_other_keys_are_told_apart(void **state)
{
    struct ini_settings s;

    (void)state;
    ini_settings_default(&s);
    assert_ptr_equal(ini_settings_set(&s, "node.startup", "manual"), INI_KEY_UNKNOWN);
    assert_ptr_equal(ini_settings_set(&s, "node.session.auth.nothing", "x"), INI_KEY_UNKNOWN);
    assert_ptr_equal(ini_settings_set(&s, "", ""), INI_KEY_UNKNOWN);
}

static void test_discovery_has_credentials_of_its_own(void **state)
{
    struct ini_settings s;

    (void)state;
    ini_settings_default(&s);
    assert_null(ini_settings_set(&s, "node.session.auth.username", "node"));
    assert_null(ini_settings_set(&s, "discovery.sendtargets.auth.username", "portal"));
    assert_null(ini_settings_set(&s, "discovery.sendtargets.auth.password", "abcdefghijkl"));
    assert_null(ini_settings_set(&s, "discovery.sendtargets.auth.username_in", "target"));
    assert_non_null(ini_settings_set(&s, "discovery.sendtargets.auth.password_in", "abcdefghijkl"));
    assert_null(ini_settings_set(&s, "discovery.sendtargets.auth.password_in", "mnopqrstuvwx"));
    assert_null(ini_settings_set(&s, "discovery.sendtargets.auth.chap_algs", "SHA1"));
    assert_string_equal(s.disc_user.name, "portal");
    assert_int_equal(s.disc_user.secret_len, 12);
    assert_string_equal(s.disc_user_in.name, "target");
    assert_int_equal(s.disc_chap_algs, 1u << CHAP_SHA1);
    assert_string_equal(s.user.name, "node");
    assert_int_equal(s.user.secret_len, 0);
    assert_int_equal(s.chap_algs, CHAP_ALGS_ALL);
    assert_ptr_equal(ini_settings_set(&s, "discovery.isns.address", "x"), INI_KEY_UNKNOWN);
}

/* ---- iscsid.conf ---------------------------------------------------------------------------------------- */

static void test_iscsid_conf_is_read(void **state)
{
    struct ini_settings s;
    char why[512];

    (void)state;
    ini_settings_default(&s);
    assert_int_equal(ini_iscsid_conf_load(dir, &s, why), 0);        /* none is fine */
    put("iscsid.conf", "# comment\n\n  node.session.timeo.replacement_timeout = 15  \r\n"
                       "node.startup = manual\niscsid.safe_logout=Yes\n"
                       "node.conn[0].iscsi.HeaderDigest = CRC32C\nnode.made.up = 1\n");
    assert_int_equal(ini_iscsid_conf_load(dir, &s, why), 0);
    assert_int_equal(s.replacement_timeout_s, 15);
    assert_int_equal(s.header_digest, ISCSI_DIGEST_CRC32C);
    assert_non_null(strstr(why, "1 key"));
    assert_non_null(strstr(why, "node.made.up"));
    assert_null(strstr(why, "node.startup"));
}

static void test_a_wrong_line_is_named_and_changes_nothing(void **state)
{
    struct ini_settings s, before;
    char why[512];

    (void)state;
    ini_settings_default(&s);
    before = s;
    put("iscsid.conf", "node.session.timeo.replacement_timeout = 15\nnode.session.cmds_max = many\n");
    assert_int_equal(ini_iscsid_conf_load(dir, &s, why), -EINVAL);
    assert_non_null(strstr(why, "line 2"));
    assert_non_null(strstr(why, "node.session.cmds_max"));
    assert_memory_equal(&s, &before, sizeof(s));
    put("iscsid.conf", "what is this\n");
    assert_int_equal(ini_iscsid_conf_load(dir, &s, why), -EINVAL);
    assert_non_null(strstr(why, "line 1"));
    put("iscsid.conf", "node.session.auth.password = tooshort\n");
    assert_int_equal(ini_iscsid_conf_load(dir, &s, why), -EINVAL);
    assert_null(strstr(why, "tooshort"));
}

/* ---- the name ------------------------------------------------------------------------------------------- */

static void test_initiator_name(void **state)
{
    char name[ISCSI_NAME_LEN_MAX + 1], why[256];

    (void)state;
    assert_int_equal(ini_name_load(dir, name, why), -ENOENT);
    assert_int_equal(ini_name_save(dir, "iqn.2026-11.org.example:host"), 0);
    assert_int_equal(ini_name_load(dir, name, why), 0);
    assert_string_equal(name, "iqn.2026-11.org.example:host");
    put("initiatorname.iscsi", "## a comment\n\nInitiatorName = iqn.2026-11.org.example:other\n");
    assert_int_equal(ini_name_load(dir, name, why), 0);
    assert_string_equal(name, "iqn.2026-11.org.example:other");
    put("initiatorname.iscsi", "InitiatorName=host one\n");
    assert_int_equal(ini_name_load(dir, name, why), -EINVAL);
    assert_non_null(strstr(why, "line 1"));
    put("initiatorname.iscsi", "GenerateName=yes\n");
    assert_int_equal(ini_name_load(dir, name, why), -EINVAL);
}

/* ---- records -------------------------------------------------------------------------------------------- */

static const struct iscsi_portal portal = { .host = "192.0.2.7", .port = 3260, .tpgt = 1 };
#define IQN "iqn.2026-11.org.example:disk"
#define RECORD "nodes/" IQN "/192.0.2.7,3260,1/default"

/* As iscsiadm 2.1.8 writes it, but for the few defaults that differ. */
static const char record_text[] =
    "# BEGIN RECORD 2.1.8\n"
    "node.name = " IQN "\nnode.tpgt = 1\nnode.startup = manual\nnode.leading_login = No\n"
    "iface.iscsi_ifacename = default\niface.prefix_len = 0\niface.transport_name = tcp\niface.vlan_id = 0\n"
    "iface.vlan_priority = 0\niface.iface_num = 0\niface.mtu = 0\niface.port = 0\niface.tos = 0\niface.ttl = "
    "0\n"
    "iface.tcp_wsf = 0\niface.tcp_timer_scale = 0\niface.def_task_mgmt_timeout = 0\niface.erl = 0\n"
    "iface.max_receive_data_len = 0\niface.first_burst_len = 0\niface.max_outstanding_r2t = 0\n"
    "iface.max_burst_len = 0\nnode.discovery_port = 0\nnode.discovery_type = static\n"
    "node.session.initial_cmdsn = 0\nnode.session.initial_login_retry_max = 8\n"
    "node.session.xmit_thread_priority = -20\nnode.session.cmds_max = 128\nnode.session.queue_depth = 32\n"
    "node.session.nr_sessions = 1\nnode.session.auth.authmethod = None\n"
    "node.session.auth.chap_algs = SHA3-256,SHA256,SHA1,MD5\n"
    "node.session.timeo.replacement_timeout = 120\nnode.session.err_timeo.abort_timeout = 15\n"
    "node.session.err_timeo.lu_reset_timeout = 30\nnode.session.err_timeo.tgt_reset_timeout = 30\n"
    "node.session.err_timeo.host_reset_timeout = 60\nnode.session.iscsi.FastAbort = Yes\n"
    "node.session.iscsi.InitialR2T = No\nnode.session.iscsi.ImmediateData = Yes\n"
    "node.session.iscsi.FirstBurstLength = 262144\nnode.session.iscsi.MaxBurstLength = 16776192\n"
    "node.session.iscsi.DefaultTime2Retain = 0\nnode.session.iscsi.DefaultTime2Wait = 0\n"
    "node.session.iscsi.MaxConnections = 1\nnode.session.iscsi.MaxOutstandingR2T = 1\nnode.session.iscsi.ERL = "
    "0\n"
    "node.session.scan = auto\nnode.session.reopen_max = 0\nnode.conn[0].address = 192.0.2.7\n"
    "node.conn[0].port = 3260\nnode.conn[0].startup = manual\nnode.conn[0].tcp.window_size = 524288\n"
    "node.conn[0].tcp.type_of_service = 0\nnode.conn[0].timeo.logout_timeout = 15\n"
    "node.conn[0].timeo.login_timeout = 15\nnode.conn[0].timeo.auth_timeout = 45\n"
    "node.conn[0].timeo.noop_out_interval = 5\nnode.conn[0].timeo.noop_out_timeout = 5\n"
    "node.conn[0].iscsi.MaxXmitDataSegmentLength = 0\nnode.conn[0].iscsi.MaxRecvDataSegmentLength = 262144\n"
    "node.conn[0].iscsi.HeaderDigest = None\nnode.conn[0].iscsi.DataDigest = None\n"
    "node.conn[0].iscsi.IFMarker = No\nnode.conn[0].iscsi.OFMarker = No\n# END RECORD\n";

static struct ini_record *fresh(void)
{
    struct ini_settings s;
    struct ini_record *r;

    ini_settings_default(&s);
    assert_int_equal(ini_record_new(IQN, &portal, &s, &r), 0);
    return r;
}

static void test_a_record_is_written_byte_for_byte(void **state)
{
    struct ini_record *r = fresh();

    (void)state;
    assert_int_equal(ini_record_save(dir, r), 0);
    assert_string_equal(get(RECORD), record_text);
    assert_int_equal(mode_of(RECORD), 0600);
    assert_int_equal(mode_of("nodes"), 0700);
    assert_int_equal(mode_of("nodes/" IQN), 0700);
    ini_record_free(r);
    assert_int_equal(ini_record_load(dir, IQN, &portal, &r), 0);
    assert_int_equal(ini_record_save(dir, r), 0);
    assert_string_equal(get(RECORD), record_text);
    ini_record_free(r);
}

static void test_what_others_wrote_survives(void **state)
{
    struct ini_record *r = fresh();
    struct ini_settings s;
    char why[256];

    (void)state;
    assert_int_equal(ini_record_save(dir, r), 0);
    ini_record_free(r);
    put(RECORD, "# BEGIN RECORD 2.1.9\nnode.name = " IQN "\nnode.tpgt = 1\nnode.new.thing = a = b\n"
                "node.session.timeo.replacement_timeout = 5\nnode.conn[0].address = "
                "192.0.2.7\nnode.conn[0].port = 3260\n"
                "# END RECORD\n");
    assert_int_equal(ini_record_load(dir, IQN, &portal, &r), 0);
    assert_string_equal(ini_record_get(r, "node.new.thing"), "a = b");
    ini_settings_default(&s);
    assert_int_equal(ini_record_settings(r, &s, why), 0);
    assert_int_equal(s.replacement_timeout_s, 5);
    assert_int_equal(ini_record_set(r, "node.session.queue_depth", "64"), 0);
    assert_int_equal(ini_record_save(dir, r), 0);
    assert_string_equal(get(RECORD),
                        "# BEGIN RECORD 2.1.9\nnode.name = " IQN "\nnode.tpgt = 1\nnode.new.thing = a = b\n"
                        "node.session.queue_depth = 64\nnode.session.timeo.replacement_timeout = 5\n"
                        "node.conn[0].address = 192.0.2.7\nnode.conn[0].port = 3260\n# END RECORD\n");
    ini_record_free(r);
}

static void test_credentials_stand_where_open_iscsi_puts_them(void **state)
{
    struct ini_record *r = fresh();
    const char *text;

    (void)state;
    assert_int_equal(ini_record_set(r, "node.session.auth.password", "secret-secret"), 0);
    assert_int_equal(ini_record_set(r, "node.session.auth.username", "u"), 0);
    assert_int_equal(ini_record_save(dir, r), 0);
    text = get(RECORD);
    assert_non_null(strstr(text, "auth.authmethod = None\nnode.session.auth.username = u\n"
                                 "node.session.auth.password = secret-secret\nnode.session.auth.chap_algs"));
    assert_int_equal(ini_record_set(r, "node.session.auth.password", ""), 0);
    assert_null(ini_record_get(r, "node.session.auth.password"));
    ini_record_free(r);
}

/* Where they have their defaults open-iscsi does not meet them (test_a_record_is_written_byte_for_byte). */
static void test_keys_of_our_own_come_back_from_a_record(void **state)
{
    struct ini_settings s, back;
    struct ini_record *r;
    char why[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ini_transport_names); i++) {
        ini_settings_default(&s);
        assert_null(ini_settings_set(&s, "node.session.corelane.transport", ini_transport_names[i]));
        assert_null(ini_settings_set(&s, "node.session.corelane.arena_mib", i ? "64" : "32"));
        assert_int_equal(ini_record_new(IQN, &portal, &s, &r), 0);
        assert_string_equal(ini_record_get(r, "iface.transport_name"), "tcp");
        assert_int_equal(ini_record_get(r, "node.session.corelane.arena_mib") != NULL, i != 0);
        assert_int_equal(ini_record_save(dir, r), 0);
        ini_record_free(r);
        assert_int_equal(ini_record_load(dir, IQN, &portal, &r), 0);
        ini_settings_default(&back);
        assert_int_equal(ini_record_settings(r, &back, why), 0);
        assert_int_equal(back.transport, i);
        assert_int_equal(back.arena_mib, i ? 64 : 32);
        ini_record_free(r);
    }
}

/* What open-iscsi calls the transport is its own choice among kernel modules: it says nothing about ours. */
static void test_a_record_of_tcp_does_not_forbid_shared_memory(void **state)
{
    struct ini_record *r = fresh();
    struct ini_settings s;
    char why[256];

    (void)state;
    ini_settings_default(&s);
    assert_string_equal(ini_record_get(r, "iface.transport_name"), "tcp");
    assert_int_equal(ini_record_settings(r, &s, why), 0);
    assert_int_equal(s.transport, INI_TRANSPORT_AUTO);
    assert_int_equal(ini_record_set(r, "node.session.corelane.transport", "rdma"), 0);
    assert_int_equal(ini_record_settings(r, &s, why), -EINVAL);
    assert_non_null(strstr(why, "node.session.corelane.transport = rdma: must be auto, tcp or shm"));
    ini_record_free(r);
}

/* What is taken is what a record gives back; what it could not is refused, and named. */
static void test_credentials_come_back_from_a_record_or_are_refused(void **state)
{
    static const char *const names[] = { "user", "us er", "us\ter", "#user", "a=b", "user=", "<empty>", "\xc3\xbc",
                                         " user", "user ", "\tuser", "us\ner", "user\r", "u\177r" };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct ini_settings s, back;
        struct ini_record *r;
        char why[256], secret[64];

        ini_settings_default(&s);
        snprintf(secret, sizeof(secret), "%s%s%s", i == 8 || i == 10 ? names[i] : "", "secret-secret",
                 i == 8 || i == 10 ? "" : names[i]);
        if (ini_settings_set(&s, "node.session.auth.username", names[i])) {
            assert_true(i >= 8 || i == 2);
            assert_non_null(ini_settings_set(&s, "node.session.auth.password", secret));
            assert_string_equal(s.user.name, "");
            continue;
        }
        assert_true(i < 8 && i != 2);
        assert_null(ini_settings_set(&s, "node.session.auth.password", secret));
        assert_int_equal(ini_record_new(IQN, &portal, &s, &r), 0);
        assert_int_equal(ini_record_save(dir, r), 0);
        ini_record_free(r);
        assert_int_equal(ini_record_load(dir, IQN, &portal, &r), 0);
        ini_settings_default(&back);
        assert_int_equal(ini_record_settings(r, &back, why), 0);
        assert_memory_equal(&back.user, &s.user, sizeof(s.user));
        ini_record_free(r);
    }
}

static void test_records_are_found_with_and_without_a_group_tag(void **state)
{
    struct iscsi_portal any = portal, other = portal, plain = portal;
    struct ini_record *r = fresh();

    (void)state;
    any.tpgt = 0;
    other.port = 3261;
    assert_int_equal(ini_record_load(dir, IQN, &other, &r), -ENOENT);
    assert_int_equal(ini_record_save(dir, r), 0);
    ini_record_free(r);
    assert_int_equal(ini_record_load(dir, IQN, &any, &r), 0);
    ini_record_free(r);
    assert_int_equal(ini_record_delete(dir, IQN, &any), 0);
    assert_int_equal(ini_record_load(dir, IQN, &any, &r), -ENOENT);
    assert_int_equal(mode_of("nodes/" IQN), 0);             /* with the last record its directory */
    /* One without a tag is a plain file. */
    r = fresh();
    assert_int_equal(ini_record_set(r, "node.tpgt", "-1"), 0);
    assert_int_equal(ini_record_save(dir, r), 0);
    ini_record_free(r);
    assert_int_equal(mode_of("nodes/" IQN "/192.0.2.7,3260"), 0600);
    assert_int_equal(ini_record_load(dir, IQN, &plain, &r), 0);
    ini_record_free(r);
    assert_int_equal(ini_record_delete(dir, IQN, &plain), 0);
}

static void test_names_that_leave_the_directory_are_refused(void **state)
{
    static const char *const names[] = { "", ".", "..", "../x", "a/b", "iqn.\nx" };
    struct ini_record *r;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct iscsi_portal p = portal;

        assert_int_equal(ini_record_load(dir, names[i], &portal, &r), -EINVAL);
        assert_int_equal(ini_record_delete(dir, names[i], &portal), -EINVAL);
        r = fresh();
        (void)ini_record_set(r, "node.name", names[i]);
        if (ini_record_get(r, "node.name") && strcmp(ini_record_get(r, "node.name"), IQN))
            assert_int_equal(ini_record_save(dir, r), -EINVAL);
        ini_record_free(r);
        (void)p;
    }
}

static void test_damaged_records_are_refused(void **state)
{
    static const char *const texts[] = { "node.name\n", "= x\n", "node.session.cmds_max = 0\n" };
    struct ini_record *r = fresh();
    struct ini_settings s;
    char why[256];

    (void)state;
    assert_int_equal(ini_record_set(r, "a b", "x"), -EINVAL);
    assert_int_equal(ini_record_set(r, "a", "x\ny"), -EINVAL);
    assert_int_equal(ini_record_set(r, "", "x"), -EINVAL);
    assert_int_equal(ini_record_save(dir, r), 0);
    ini_record_free(r);
    for (size_t i = 0; i < 2; i++) {
        put(RECORD, texts[i]);
        assert_int_equal(ini_record_load(dir, IQN, &portal, &r), -EINVAL);
    }
    put(RECORD, texts[2]);
    assert_int_equal(ini_record_load(dir, IQN, &portal, &r), 0);
    ini_settings_default(&s);
    assert_int_equal(ini_record_settings(r, &s, why), -EINVAL);
    assert_non_null(strstr(why, "node.session.cmds_max = 0"));
    ini_record_free(r);
}

/* Read again, each would be another: as far as the line goes, without its blanks, or none at all. */
static void test_no_record_is_made_of_what_it_cannot_hold(void **state)
{
    static const char *const names[] = { "line\nnode.session.auth.password_in = x", " before", "after ", "\tbefore",
                                         "in\tside", "return\r", "delete\x7f", "<empty>" };
    struct ini_settings s, before;
    struct ini_record *r = NULL;

    (void)state;
    ini_settings_default(&before);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        s = before;
        strcpy(s.user.name, names[i]);
        assert_int_equal(ini_record_new(IQN, &portal, &s, &r), -EINVAL);
        s = before;
        s.user.secret_len = (uint32_t)strlen(names[i]);
        memcpy(s.user.secret, names[i], s.user.secret_len);
        assert_int_equal(ini_record_new(IQN, &portal, &s, &r), -EINVAL);
    }
    s = before;
    s.user.secret_len = 14;
    memcpy(s.user.secret, "hidden\0beyond!", 14);
    assert_int_equal(ini_record_new(IQN, &portal, &s, &r), -EINVAL);
    assert_null(r);
}

static void test_values_with_blanks_around_are_refused(void **state)
{
    struct ini_record *r = fresh();

    (void)state;
    assert_int_equal(ini_record_set(r, "node.x", " a"), -EINVAL);
    assert_int_equal(ini_record_set(r, "node.x", "a "), -EINVAL);
    assert_int_equal(ini_record_set(r, "node.x", "a a"), 0);
    assert_int_equal(ini_record_set(r, "node.x", "<empty>"), 0);
    assert_null(ini_record_get(r, "node.x"));
    ini_record_free(r);
}

/* What stands in a record becomes a part of a path: the group tag too. */
static void test_a_group_tag_that_leaves_the_directory_is_refused(void **state)
{
    struct ini_record *r = fresh();

    (void)state;
    assert_int_equal(ini_record_set(r, "node.tpgt", "1/../../../../outside"), 0);
    assert_int_equal(ini_record_save(dir, r), -EINVAL);
    ini_record_free(r);
}

static void test_files_with_a_nul_inside_are_refused(void **state)
{
    struct ini_settings s;
    char name[ISCSI_NAME_LEN_MAX + 1], why[512], path[128];
    static const char text[] = "InitiatorName=iqn.2026-11.org.example:host\n\0node.session.cmds_max = many\n";

    (void)state;
    ini_settings_default(&s);
    snprintf(path, sizeof(path), "%s/iscsid.conf", dir);
    assert_int_equal(rt_save(path, text, sizeof(text) - 1, 0600), 0);
    assert_int_equal(ini_iscsid_conf_load(dir, &s, why), -EINVAL);
    snprintf(path, sizeof(path), "%s/initiatorname.iscsi", dir);
    assert_int_equal(rt_save(path, text, sizeof(text) - 1, 0600), 0);
    assert_int_equal(ini_name_load(dir, name, why), -EINVAL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_open_iscsi_s),
        cmocka_unit_test(test_each_bound_holds_at_the_limit_and_one_past_it),
        cmocka_unit_test(test_secrets_of_both_directions_differ),
        cmocka_unit_test(test_other_keys_are_told_apart),
        cmocka_unit_test(test_discovery_has_credentials_of_its_own),
        T(test_iscsid_conf_is_read),
        T(test_a_wrong_line_is_named_and_changes_nothing),
        T(test_initiator_name),
        T(test_a_record_is_written_byte_for_byte),
        T(test_what_others_wrote_survives),
        T(test_credentials_stand_where_open_iscsi_puts_them),
        T(test_credentials_come_back_from_a_record_or_are_refused),
        T(test_keys_of_our_own_come_back_from_a_record),
        T(test_a_record_of_tcp_does_not_forbid_shared_memory),
        T(test_records_are_found_with_and_without_a_group_tag),
        T(test_names_that_leave_the_directory_are_refused),
        T(test_damaged_records_are_refused),
        cmocka_unit_test(test_no_record_is_made_of_what_it_cannot_hold),
        cmocka_unit_test(test_values_with_blanks_around_are_refused),
        T(test_a_group_tag_that_leaves_the_directory_is_refused),
        T(test_files_with_a_nul_inside_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
