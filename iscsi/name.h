/*
 * name.h - iSCSI names, portals and URLs as people type them
 */
#ifndef CORELANE_ISCSI_NAME_H
#define CORELANE_ISCSI_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "iscsi/proto.h"

/* iqn., eui. and naa. names of RFC 7143 4.2.7. @out: normalised to lower case (RFC 3722 for the ASCII that
 * names in use have). Return: NULL, or a sentence that says what is wrong with @name; never NULL for over 223
 * bytes, an unknown type, blanks, control characters, '/' or a bad date. */
const char *iscsi_name_refusal(const char *name, char out[static ISCSI_NAME_LEN_MAX + 1]);

struct iscsi_portal {
    char host[256];                         /* a name or number; IPv6 without brackets */
    uint16_t port;
    uint16_t tpgt;                          /* portal group tag; 0: not given */
};
#define ISCSI_PORTAL_STR_MAX 280
/* "host", "host:port", "host:port,tpgt", "[v6]:port", "v6". Return: NULL or what is wrong. */
const char *iscsi_portal_parse(struct iscsi_portal *out, const char *text);
/* "192.0.2.1:3260", "[2001:db8::1]:3260". */
void iscsi_portal_format(const struct iscsi_portal *p, char out[static ISCSI_PORTAL_STR_MAX]);

/* iscsi://[user[%secret]@]host[:port]/iqn/lun as libiscsi and qemu write it. The first '%' ends
 * the user, as there; escapes of RFC 3986 are undone in secret and target name. */
struct iscsi_url {
    struct iscsi_portal portal;
    char target[ISCSI_NAME_LEN_MAX + 1];
    uint16_t lun;
    char user[256], secret[256];            /* empty: none */
};
const char *iscsi_url_parse(struct iscsi_url *out, const char *text);   /* NULL or what is wrong */

#endif
