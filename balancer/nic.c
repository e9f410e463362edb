/*
 * nic.c - a network interface's receive queues
 *
 * Which interrupt is which queue's is nowhere said but in the interrupt's name, and each driver has its own way with that:
 * "eth0-rx-3", "eth0-TxRx-3", "i40e-eth0-TxRx-3", "virtio0-input.3", "mlx5_comp3@pci:0000:3b:00.0". The first number behind
 * the kind is the queue's.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/mask.h"
#include "balancer/nic.h"

#define DEPTH_MAX 4 /* a VLAN on a bond on a bridge is 3 */
#define IRQS_MAX  4096

static unsigned bases(const struct bal_sys *s, const char *ifname, char (*out)[BAL_IFNAME_MAX], unsigned max,
                      unsigned nr, unsigned depth)
{
    char lower[BAL_NIC_BASES_MAX][BAL_SYS_NAME_MAX], dir[BAL_SYS_PATH_MAX];
    int n;

    if (!bal_ifname_valid(ifname) || nr == max)
        return nr;
    for (unsigned i = 0; i < nr; i++)
        if (!strcmp(out[i], ifname))
            return nr;
    bal_sys_path(dir, "sys/class/net/%s", ifname);
    n = bal_sys_list(s, dir, "lower_", lower, BAL_NIC_BASES_MAX);
    if (n < 0)
        return nr;
    if (!n || depth == DEPTH_MAX) {
        strcpy(out[nr], ifname);
        return nr + 1;
    }
    for (int i = 0; i < n; i++)
        nr = bases(s, lower[i] + strlen("lower_"), out, max, nr, depth + 1);
    return nr;
}

unsigned bal_nic_bases(const struct bal_sys *s, const char *ifname, char (*out)[BAL_IFNAME_MAX], unsigned max)
{
    return bases(s, ifname, out, max, 0, 0);
}

unsigned bal_nic_queues(const struct bal_sys *s, const char *ifname, unsigned *out, unsigned max)
{
    char(*names)[BAL_SYS_NAME_MAX] = malloc(BAL_NIC_QUEUES_MAX * sizeof(*names));
    char dir[BAL_SYS_PATH_MAX];
    unsigned found = 0;
    int n;

    bal_sys_path(dir, "sys/class/net/%s/queues", ifname);
    n = names && bal_ifname_valid(ifname) ? bal_sys_list(s, dir, "rx-", names, BAL_NIC_QUEUES_MAX) : 0;
    for (int i = 0; i < n && found < max; i++) {
        const char *num = names[i] + strlen("rx-");
        char *end;
        const unsigned long q = strtoul(num, &end, 10);

        if (isdigit((unsigned char)*num) && !*end && q < 1000000)
            out[found++] = (unsigned)q;
    }
    free(names);
    return found;
}

void bal_nic_rps_path(const char *ifname, unsigned queue, char out[static BAL_SYS_PATH_MAX])
{
    bal_sys_path(out, "sys/class/net/%s/queues/rx-%u/rps_cpus", ifname, queue);
}

int bal_nic_node(const struct bal_sys *s, const char *ifname)
{
    char path[BAL_SYS_PATH_MAX];
    unsigned node;

    bal_sys_path(path, "sys/class/net/%s/device/numa_node", ifname);
    return bal_ifname_valid(ifname) && !bal_sys_read_num(s, path, &node) && node < 1024 ? (int)node : -1;
}

/* The queue that an interrupt of that name serves, -1: none that receives. */
static int queue_of_name(const char *name)
{
    static const char *const kinds[] = { "TxRx-", "rx-", "Rx-", "input.", "comp", "rx", "queue-" };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const char *p = strstr(name, kinds[i]);

        if (p && isdigit((unsigned char)p[strlen(kinds[i])]))
            return (int)(strtoul(p + strlen(kinds[i]), NULL, 10) % 1000000);
    }
    return -1;
}

/* An interrupt's queue: its name is that of a directory in /proc/irq/N. */
static int queue_of_irq(const struct bal_sys *s, const char *irq)
{
    char names[16][BAL_SYS_NAME_MAX], dir[BAL_SYS_PATH_MAX];
    int n, queue = -1;

    bal_sys_path(dir, "proc/irq/%s", irq);
    n = bal_sys_list(s, dir, "", names, 16);
    for (int i = 0; i < n && queue < 0; i++)
        queue = queue_of_name(names[i]);
    return queue;
}

static bool irq_on(const struct bal_sys *s, const char *irq, int cpu)
{
    static const char *const files[] = { "effective_affinity_list", "smp_affinity_list" };
    char path[BAL_SYS_PATH_MAX], text[BAL_SYS_TEXT_MAX];
    struct bal_mask m;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        bal_sys_path(path, "proc/irq/%s/%s", irq, files[i]);
        if (bal_sys_read(s, path, text, sizeof(text), NULL) > 0 && !bal_mask_parse_list(&m, text))
            return bal_mask_count(&m) == 1 && bal_mask_has(&m, cpu);
    }
    return false;
}

int bal_nic_queue_of(const struct bal_sys *s, const char *ifname, int cpu)
{
    char(*irqs)[BAL_SYS_NAME_MAX] = malloc(IRQS_MAX * sizeof(*irqs));
    unsigned *queues = malloc(BAL_NIC_QUEUES_MAX * sizeof(*queues)), nr;
    char dir[BAL_SYS_PATH_MAX];
    int n = -ENOENT, found = -ENOENT;

    if (irqs && queues && bal_ifname_valid(ifname)) {
        bal_sys_path(dir, "sys/class/net/%s/device/msi_irqs", ifname);
        n = bal_sys_list(s, dir, "", irqs, IRQS_MAX);
        nr = bal_nic_queues(s, ifname, queues, BAL_NIC_QUEUES_MAX);
        for (int i = 0; i < n && found < 0; i++) {
            const int queue = irq_on(s, irqs[i], cpu) ? queue_of_irq(s, irqs[i]) : -1;

            for (unsigned q = 0; q < nr; q++)
                if ((int)queues[q] == queue)
                    found = queue;
        }
    }
    free(irqs);
    free(queues);
    return found;
}
