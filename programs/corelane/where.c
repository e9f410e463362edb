/*
 * where.c - where a LUN is and who we are there: portals, URLs and credentials of a command line become parameters
 */
#include <stdlib.h>
#include <string.h>

#include "iscsi/name.h"
#include "programs/corelane/call.h"
#include "programs/corelane/where.h"

const struct opt where_cred_opts[] = {
    { "user", 0, OPT_TEXT, .key = "user", .arg = "NAME", .help = "CHAP name that we prove" },
    { "secret-file", 0, OPT_TEXT, .arg = "FILE", .help = "its first line is the secret; - is standard input" },
    { "user-in", 0, OPT_TEXT, .key = "user_in", .arg = "NAME", .help = "CHAP name that the target must prove" },
    { "secret-in-file", 0, OPT_TEXT, .arg = "FILE", .help = "and its secret" },
    { 0 },
};

int where_creds(const struct opts *o, json_t *params)
{
    int status = -1;

    if (opt_has(o, "secret-file") && !json_object_get(params, "user"))
        return opt_usage(o->prog, o->cmd, "--secret-file needs --user");
    if (opt_has(o, "secret-in-file") && !opt_has(o, "user-in"))
        return opt_usage(o->prog, o->cmd, "--secret-in-file needs --user-in");
    if (opt_has(o, "user"))
        status = secret_param(o, "secret-file", "CORELANE_SECRET", "secret", params);
    if (status < 0 && opt_has(o, "user") && !json_object_get(params, "secret"))
        status =
            opt_usage(o->prog, o->cmd, "--user needs a secret: give --secret-file, or set CORELANE_SECRET");
    if (status < 0 && opt_has(o, "user-in"))
        status = secret_param(o, "secret-in-file", "CORELANE_SECRET_IN", "secret_in", params);
    if (status < 0 && opt_has(o, "user-in") && !json_object_get(params, "secret_in"))
        status = opt_usage(o->prog, o->cmd,
                           "--user-in needs a secret: give --secret-in-file, or set CORELANE_SECRET_IN");
    return status;
}

int where_portal(const struct opts *o, const char *text)
{
    struct iscsi_portal portal;
    const char *wrong = iscsi_portal_parse(&portal, text);

    return wrong ? opt_usage(o->prog, o->cmd, "portal '%s': %s", text, wrong) : -1;
}

int where_url(const struct opts *o, const char *text, json_t *params)
{
    char portal[ISCSI_PORTAL_STR_MAX];
    struct iscsi_url url;
    const char *wrong = iscsi_url_parse(&url, text);

    if (wrong)
        return opt_usage(o->prog, o->cmd, "'%s': %s", text, wrong);
    if (*url.user && opt_has(o, "user"))
        return opt_usage(o->prog, o->cmd,
                         "the URL says the user: leave --user out, or the user out of the URL");
    iscsi_portal_format(&url.portal, portal);
    json_object_set_new(params, "iqn", json_string(url.target));
    json_object_set_new(params, "portal", json_string(portal));
    json_object_set_new(params, "lun", json_integer(url.lun));
    if (!*url.user)
        return -1;
    json_object_set_new(params, "user", json_string(url.user));
    if (*url.secret) {
        json_object_set_new(params, "secret", json_string(url.secret));
        return -1;
    }
    return secret_param(o, "secret-file", "CORELANE_SECRET", "secret", params);
}
