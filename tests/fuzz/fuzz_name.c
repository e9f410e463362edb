/*
 * fuzz_name.c - names, portals, URLs and addresses as people type them
 *
 * Input: which parser, and the text. What is taken can be written, and read again as the same.
 */
#include <net/if.h>

#include "iscsi/name.h"
#include "reactor/rt.h"
#include "tests/fuzz/fuzz.h"

/* Interfaces of a machine that does not exist: the same everywhere, and no system call an input. One of them has a
 * name that Linux allows and an address cannot hold. */
static const char *const interfaces[] = { "lo", "eth0", "a]b" };

unsigned if_nametoindex(const char *name)
{
    for (unsigned i = 0; i < sizeof(interfaces) / sizeof(interfaces[0]); i++)
        if (!strcmp(name, interfaces[i]))
            return i + 1;
    return 0;
}

char *if_indextoname(unsigned index, char name[IF_NAMESIZE])
{
    return index && index <= sizeof(interfaces) / sizeof(interfaces[0]) ? strcpy(name, interfaces[index - 1])
                                                                        : NULL;
}

static void name_try(const char *text)
{
    char out[ISCSI_NAME_LEN_MAX + 1] = "?", again[ISCSI_NAME_LEN_MAX + 1];
    const char *why = iscsi_name_refusal(text, out);

    if (why) {
        fuzz_check(*why && !strcmp(out, "?"));
        return;
    }
    fuzz_check(strlen(out) == strlen(text) && !strpbrk(out, "/ \n%"));
    fuzz_check(!iscsi_name_refusal(out, again) && !strcmp(out, again));
}

static void portal_check(const struct iscsi_portal *p)
{
    char text[ISCSI_PORTAL_STR_MAX];
    struct iscsi_portal again;

    fuzz_check(p->port && strlen(p->host) && strlen(p->host) < sizeof(p->host));
    fuzz_check(!strpbrk(p->host, "/ \n[],"));
    iscsi_portal_format(p, text);
    fuzz_check(!iscsi_portal_parse(&again, text));
    fuzz_check(!strcmp(again.host, p->host) && again.port == p->port && !again.tpgt);
}

static void portal_try(const char *text)
{
    struct iscsi_portal p = { .host = "?", .port = 7 };
    const char *why = iscsi_portal_parse(&p, text);

    if (why)
        fuzz_check(*why && !strcmp(p.host, "?") && p.port == 7);
    else
        portal_check(&p);
}

static void url_try(const char *text)
{
    struct iscsi_url u = { .user = "?" };
    const char *why = iscsi_url_parse(&u, text);
    char norm[ISCSI_NAME_LEN_MAX + 1];

    if (why) {
        fuzz_check(*why && !strcmp(u.user, "?"));
        return;
    }
    portal_check(&u.portal);
    fuzz_check(!iscsi_name_refusal(u.target, norm) && !strcmp(norm, u.target));
    fuzz_check(u.lun <= 16383);
    fuzz_check(!u.secret[0] || u.user[0]);
}

static void address_try(const char *text, uint16_t port)
{
    struct rt_addr a, untouched, again;
    char out[RT_ADDR_STR_MAX];

    memset(&a, 0xa5, sizeof(a));
    memset(&untouched, 0xa5, sizeof(untouched));
    if (rt_addr_parse(&a, text, port)) {
        fuzz_check(!memcmp(&a, &untouched, sizeof(a)));
        return;
    }
    rt_addr_format(&a, out);
    fuzz_check(!rt_addr_parse(&again, out, 0) && rt_addr_equal(&a, &again) && a.len == again.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = { data, size };
    const uint8_t which = fuzz_u8(&in);
    char *text = fuzz_string(in.at, in.left);

    switch (which & 3) {
    case 0: name_try(text); break;
    case 1: portal_try(text); break;
    case 2: url_try(text); break;
    case 3: address_try(text, which >> 2); break;
    }
    free(text);
    return 0;
}
