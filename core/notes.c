/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The notes of an ELF core: spec 3. */
#include <elf.h>

#include "context.h"
#include "write.h"

/* elf_prstatus of x86-64 and of i386; but for the registers, all zero. */
struct prstatus64 {
    uint32_t signal[3];
    uint16_t current_signal, pad;
    uint64_t pending, held;
    uint32_t pid, parent, group, session;
    uint64_t times[8];
    struct {
        uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8;
        uint64_t rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, rflags, rsp, ss;
        uint64_t fs_base, gs_base, ds, es, fs, gs;
    } reg;
    uint32_t fp_valid, pad2;
};

struct prstatus32 {
    uint32_t signal[3];
    uint16_t current_signal, pad;
    uint32_t pending, held;
    uint32_t pid, parent, group, session;
    uint32_t times[8];
    struct {
        uint32_t ebx, ecx, edx, esi, edi, ebp, eax, ds, es, fs, gs, orig_eax;
        uint32_t eip, cs, eflags, esp, ss;
    } reg;
    uint32_t fp_valid;
};

_Static_assert(sizeof(struct prstatus64) == 336, "size");
_Static_assert(offsetof(struct prstatus64, reg) == 112, "layout");
_Static_assert(sizeof(struct prstatus32) == 144, "size");
_Static_assert(offsetof(struct prstatus32, reg) == 72, "layout");

/* What QEMU's dump-guest-memory adds. */
struct qemu_segment {
    uint32_t selector, limit, flags, pad;
    uint64_t base;
};

struct qemu_cpu {
    uint32_t version, size;
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags;
    struct qemu_segment segment[CORE_SEGMENTS];
    uint64_t cr[5];
    uint64_t kernel_gs_base;
};

_Static_assert(sizeof(struct qemu_cpu) == 440, "size");

#define ROUND4(length) (((length) + 3) & ~(size_t)3)

static size_t append(uint8_t *data, size_t used, const char *name,
                     uint32_t type, const void *contents, size_t length)
{
    Elf64_Nhdr header = { strlen(name) + 1, length, type };

    memcpy(data + used, &header, sizeof(header));
    used += sizeof(header);
    memset(data + used, 0, ROUND4(header.n_namesz));
    memcpy(data + used, name, header.n_namesz);
    used += ROUND4(header.n_namesz);
    memcpy(data + used, contents, length);
    memset(data + used + length, 0, ROUND4(length) - length);
    return used + ROUND4(length);
}

static size_t prstatus64(uint8_t *data, size_t used, uint32_t number,
                         const struct context64 *c)
{
    struct prstatus64 status = { .pid = number + 1 };
    bool kernel = c->flags & CONTEXT_IN_KERNEL || !(c->cs & 3);

    status.reg.r15 = c->r15;
    status.reg.r14 = c->r14;
    status.reg.r13 = c->r13;
    status.reg.r12 = c->r12;
    status.reg.rbp = c->rbp;
    status.reg.rbx = c->rbx;
    status.reg.r11 = c->r11;
    status.reg.r10 = c->r10;
    status.reg.r9 = c->r9;
    status.reg.r8 = c->r8;
    status.reg.rax = c->rax;
    status.reg.rcx = c->rcx;
    status.reg.rdx = c->rdx;
    status.reg.rsi = c->rsi;
    status.reg.rdi = c->rdi;
    status.reg.orig_rax = c->rax;
    status.reg.rip = c->rip;
    status.reg.cs = c->cs;
    status.reg.rflags = c->rflags;
    status.reg.rsp = c->rsp;
    status.reg.ss = c->ss;
    status.reg.fs_base = c->fs_base;
    status.reg.gs_base = kernel ? c->gs_base_kernel : c->gs_base_user;
    status.reg.ds = c->ds;
    status.reg.es = c->es;
    status.reg.fs = c->fs;
    status.reg.gs = c->gs;
    return append(data, used, "CORE", NT_PRSTATUS, &status, sizeof(status));
}

static size_t prstatus32(uint8_t *data, size_t used, uint32_t number,
                         const struct context32 *c)
{
    struct prstatus32 status = { .pid = number + 1 };

    status.reg.ebx = c->ebx;
    status.reg.ecx = c->ecx;
    status.reg.edx = c->edx;
    status.reg.esi = c->esi;
    status.reg.edi = c->edi;
    status.reg.ebp = c->ebp;
    status.reg.eax = c->eax;
    status.reg.ds = c->ds;
    status.reg.es = c->es;
    status.reg.fs = c->fs;
    status.reg.gs = c->gs;
    status.reg.orig_eax = c->eax;
    status.reg.eip = c->eip;
    status.reg.cs = c->cs;
    status.reg.eflags = c->eflags;
    status.reg.esp = c->esp;
    status.reg.ss = c->ss;
    return append(data, used, "CORE", NT_PRSTATUS, &status, sizeof(status));
}

/* From the packed attributes to where a descriptor has them. */
static uint32_t descriptor_flags(uint32_t attributes)
{
    return (attributes & 0xff) << 8 | (attributes & 0xf00) << 12;
}

static size_t qemu_cpu(uint8_t *data, size_t used,
                       const struct core_vcpu *vcpu)
{
    const struct context64 *c = (const struct context64 *)vcpu->context;
    struct qemu_cpu cpu = { .version = 1, .size = sizeof(cpu) };
    size_t i;

    cpu.rax = c->rax;
    cpu.rbx = c->rbx;
    cpu.rcx = c->rcx;
    cpu.rdx = c->rdx;
    cpu.rsi = c->rsi;
    cpu.rdi = c->rdi;
    cpu.rsp = c->rsp;
    cpu.rbp = c->rbp;
    cpu.r8 = c->r8;
    cpu.r9 = c->r9;
    cpu.r10 = c->r10;
    cpu.r11 = c->r11;
    cpu.r12 = c->r12;
    cpu.r13 = c->r13;
    cpu.r14 = c->r14;
    cpu.r15 = c->r15;
    cpu.rip = c->rip;
    cpu.rflags = c->rflags;
    for (i = 0; i < CORE_SEGMENTS; i++) {
        cpu.segment[i].selector = vcpu->segment[i].selector;
        cpu.segment[i].limit = vcpu->segment[i].limit;
        cpu.segment[i].flags = descriptor_flags(vcpu->segment[i].attributes);
        cpu.segment[i].base = vcpu->segment[i].base;
    }
    memcpy(cpu.cr, c->cr, sizeof(cpu.cr));
    /* What swapgs would bring: Xen names them by their use, not by that. */
    cpu.kernel_gs_base = c->cs & 3 ? c->gs_base_kernel : c->gs_base_user;
    return append(data, used, "QEMU", 0, &cpu, sizeof(cpu));
}

_Static_assert(sizeof(struct prstatus64) + sizeof(struct qemu_cpu) + 2 * 20 <=
                   CORE_NOTES_PER_VCPU,
               "room for the notes of a vCPU");

size_t core_elf_notes(const struct core_domain *domain, const void *vmcoreinfo,
                      size_t vmcoreinfo_length, uint8_t *data)
{
    bool narrow = !domain->translated && domain->width == 4;
    size_t used = 0;
    uint32_t i;

    for (i = 0; i < domain->vcpus; i++) {
        const void *context = domain->vcpu[i].context;

        used = narrow ? prstatus32(data, used, i, context)
                      : prstatus64(data, used, i, context);
    }
    for (i = 0; i < domain->vcpus; i++)
        if (domain->vcpu[i].has_segments)
            used = qemu_cpu(data, used, &domain->vcpu[i]);
    if (vmcoreinfo_length) {
        memcpy(data + used, vmcoreinfo, vmcoreinfo_length);
        used += vmcoreinfo_length;
    }
    return used;
}

/* ---- VMCOREINFO --------------------------------------------------------- */

#define VMCOREINFO_NAME  "VMCOREINFO"
#define VMCOREINFO_START "OSRELEASE="

size_t core_find_vmcoreinfo(const void *page)
{
    struct {
        Elf64_Nhdr header;
        char name[ROUND4(sizeof(VMCOREINFO_NAME))];
    } note;
    const char *text = (const char *)page + sizeof(note);
    size_t i;

    memcpy(&note, page, sizeof(note));
    if (note.header.n_namesz != sizeof(VMCOREINFO_NAME) ||
        note.header.n_type ||
        memcmp(note.name, VMCOREINFO_NAME, sizeof(VMCOREINFO_NAME)) ||
        note.header.n_descsz < strlen(VMCOREINFO_START) ||
        note.header.n_descsz > XENSAVE_V2_PAGE_SIZE - sizeof(note) ||
        memcmp(text, VMCOREINFO_START, strlen(VMCOREINFO_START)))
        return 0;
    for (i = 0; i < note.header.n_descsz; i++)
        if (text[i] != '\n' && (text[i] < ' ' || text[i] > '~'))
            return 0;
    return ROUND4(sizeof(note) + note.header.n_descsz);
}
