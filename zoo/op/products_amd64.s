#include "textflag.h"

// One row's part of a step: the bits Y13 of the element of A at ROW, times eight columns of B in Y8 and Y9, to the sums LOW and HIGH.
#define STEP(ROW, LOW, HIGH) \
	VBROADCASTSD (ROW)(AX*8), Y10 \
	VANDPD       Y13, Y10, Y10    \
	VMULPD       Y8, Y10, Y11     \
	VMULPD       Y9, Y10, Y12     \
	VADDPD       Y11, LOW, LOW    \
	VADDPD       Y12, HIGH, HIGH

// One row's sums to C, which then points to the next row.
#define STORE(LOW, HIGH) \
	VADDPD  (DI), LOW, LOW     \
	VADDPD  32(DI), HIGH, HIGH \
	VMOVUPD LOW, (DI)          \
	VMOVUPD HIGH, 32(DI)       \
	ADDQ    R8, DI

// func addFour(c, a, b *float64, depth, width int, mask uint64)
TEXT ·addFour(SB), NOSPLIT, $0-48
	MOVQ   c+0(FP), DI
	MOVQ   a+8(FP), SI
	MOVQ   b+16(FP), DX
	MOVQ   depth+24(FP), CX
	MOVQ   width+32(FP), R8
	VBROADCASTSD mask+40(FP), Y13
	SHLQ   $3, R8
	LEAQ   (SI)(CX*8), R10
	LEAQ   (R10)(CX*8), R11
	LEAQ   (R11)(CX*8), R12
	XORQ   AX, AX
	VXORPD Y0, Y0, Y0
	VXORPD Y1, Y1, Y1
	VXORPD Y2, Y2, Y2
	VXORPD Y3, Y3, Y3
	VXORPD Y4, Y4, Y4
	VXORPD Y5, Y5, Y5
	VXORPD Y6, Y6, Y6
	VXORPD Y7, Y7, Y7

four:
	VMOVUPD (DX), Y8
	VMOVUPD 32(DX), Y9
	STEP(SI, Y0, Y1)
	STEP(R10, Y2, Y3)
	STEP(R11, Y4, Y5)
	STEP(R12, Y6, Y7)
	ADDQ    $64, DX
	INCQ    AX
	CMPQ    AX, CX
	JLT     four
	STORE(Y0, Y1)
	STORE(Y2, Y3)
	STORE(Y4, Y5)
	STORE(Y6, Y7)
	VZEROUPPER
	RET

// func addOne(c, a, b *float64, depth int, mask uint64)
TEXT ·addOne(SB), NOSPLIT, $0-40
	MOVQ   c+0(FP), DI
	MOVQ   a+8(FP), SI
	MOVQ   b+16(FP), DX
	MOVQ   depth+24(FP), CX
	VBROADCASTSD mask+32(FP), Y13
	XORQ   AX, AX
	VXORPD Y0, Y0, Y0
	VXORPD Y1, Y1, Y1

one:
	VMOVUPD (DX), Y8
	VMOVUPD 32(DX), Y9
	STEP(SI, Y0, Y1)
	ADDQ    $64, DX
	INCQ    AX
	CMPQ    AX, CX
	JLT     one
	STORE(Y0, Y1)
	VZEROUPPER
	RET
