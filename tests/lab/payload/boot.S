/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first sector of an HVM guest's disk: loads the rest of the payload
 * with the BIOS, enters 32-bit protected mode and calls hvm_main().
 */
    .code16
    .section .boot, "ax"
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    sti
    movb %dl, drive
    movw $packet, %si
    movb $0x42, %ah         /* extended read */
    movb drive, %dl
    int $0x13
    jc failed

    cli
    lgdt descriptor
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmp $8, $protected

failed:                     /* no console yet: say it on the first port */
    movw $0x3f8, %dx
    movb $'E', %al
    outb %al, %dx
    hlt
    jmp failed

    .code32
protected:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movl $0x90000, %esp
    call hvm_main
1:  hlt
    jmp 1b

    .align 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff /* flat code */
    .quad 0x00cf92000000ffff /* flat data */
descriptor:
    .word . - gdt - 1
    .long gdt
    .align 4
packet:
    .byte 16, 0
    .word 63               /* images.py: HVM_DISK_SIZE */
    .word 0x7e00, 0         /* right behind this sector */
    .quad 1
drive:
    .byte 0
    .org 510
    .word 0xaa55

    /* What the maker of the disk fills in; see hvm.c. */
    .section .parameters, "aw"
    .globl parameters
parameters:
    .long 0, 0, 0, 0

    .text
    .globl timer_entry, spurious_entry
timer_entry:
    pusha
    incl ticks
    movb $0x20, %al
    outb %al, $0x20
    popa
    iret
spurious_entry:
    iret

    .section .note.GNU-stack, "", @progbits
