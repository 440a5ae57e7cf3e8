#include "textflag.h"

// A product's element of A at ROW, its bits those that the mask has: Y15. Three panels' columns of B are in Y12 to Y14.
#define STEP3(ROW, P, Q, R) \
	VBROADCASTSD (ROW)(AX*8), Y15 \
	VANDPD       (R13), Y15, Y15  \
	VFMADD231PD  Y12, Y15, P      \
	VFMADD231PD  Y13, Y15, Q      \
	VFMADD231PD  Y14, Y15, R

#define STORE3(P, Q, R) \
	VADDPD  (DI), P, P   \
	VADDPD  32(DI), Q, Q \
	VADDPD  64(DI), R, R \
	VMOVUPD P, (DI)      \
	VMOVUPD Q, 32(DI)    \
	VMOVUPD R, 64(DI)    \
	ADDQ    R8, DI

// func fourByThree(c, a, b *float64, depth, width, stride int, mask *[4]uint64)
TEXT ·fourByThree(SB), NOSPLIT, $0-56
	MOVQ   c+0(FP), DI
	MOVQ   a+8(FP), SI
	MOVQ   b+16(FP), DX
	MOVQ   depth+24(FP), CX
	MOVQ   width+32(FP), R8
	MOVQ   stride+40(FP), R9
	MOVQ   mask+48(FP), R13
	SHLQ   $3, R8
	LEAQ   (DX)(R9*8), BX
	LEAQ   (BX)(R9*8), R9
	LEAQ   (SI)(CX*8), R10
	LEAQ   (R10)(CX*8), R11
	LEAQ   (R11)(CX*8), R12
	XORQ   AX, AX
	XORQ   R15, R15
	VXORPD Y0, Y0, Y0
	VXORPD Y1, Y1, Y1
	VXORPD Y2, Y2, Y2
	VXORPD Y3, Y3, Y3
	VXORPD Y4, Y4, Y4
	VXORPD Y5, Y5, Y5
	VXORPD Y6, Y6, Y6
	VXORPD Y7, Y7, Y7
	VXORPD Y8, Y8, Y8
	VXORPD Y9, Y9, Y9
	VXORPD Y10, Y10, Y10
	VXORPD Y11, Y11, Y11

three:
	VMOVUPD (DX)(R15*1), Y12
	VMOVUPD (BX)(R15*1), Y13
	VMOVUPD (R9)(R15*1), Y14
	STEP3(SI, Y0, Y1, Y2)
	STEP3(R10, Y3, Y4, Y5)
	STEP3(R11, Y6, Y7, Y8)
	STEP3(R12, Y9, Y10, Y11)
	ADDQ    $32, R15
	INCQ    AX
	CMPQ    AX, CX
	JLT     three
	STORE3(Y0, Y1, Y2)
	STORE3(Y3, Y4, Y5)
	STORE3(Y6, Y7, Y8)
	STORE3(Y9, Y10, Y11)
	VZEROUPPER
	RET

#define STEP2(ROW, P, Q) \
	VBROADCASTSD (ROW)(AX*8), Y14 \
	VANDPD       Y15, Y14, Y14    \
	VFMADD231PD  Y12, Y14, P      \
	VFMADD231PD  Y13, Y14, Q

#define STORE2(P, Q) \
	VADDPD  (DI), P, P   \
	VADDPD  32(DI), Q, Q \
	VMOVUPD P, (DI)      \
	VMOVUPD Q, 32(DI)    \
	ADDQ    R8, DI

// func fourByTwo(c, a, b *float64, depth, width, stride int, mask *[4]uint64)
TEXT ·fourByTwo(SB), NOSPLIT, $0-56
	MOVQ    c+0(FP), DI
	MOVQ    a+8(FP), SI
	MOVQ    b+16(FP), DX
	MOVQ    depth+24(FP), CX
	MOVQ    width+32(FP), R8
	MOVQ    stride+40(FP), R9
	MOVQ    mask+48(FP), R13
	VMOVUPD (R13), Y15
	SHLQ    $3, R8
	LEAQ    (DX)(R9*8), BX
	LEAQ    (SI)(CX*8), R10
	LEAQ    (R10)(CX*8), R11
	LEAQ    (R11)(CX*8), R12
	XORQ    AX, AX
	XORQ    R15, R15
	VXORPD  Y0, Y0, Y0
	VXORPD  Y1, Y1, Y1
	VXORPD  Y2, Y2, Y2
	VXORPD  Y3, Y3, Y3
	VXORPD  Y4, Y4, Y4
	VXORPD  Y5, Y5, Y5
	VXORPD  Y6, Y6, Y6
	VXORPD  Y7, Y7, Y7

two:
	VMOVUPD (DX)(R15*1), Y12
	VMOVUPD (BX)(R15*1), Y13
	STEP2(SI, Y0, Y1)
	STEP2(R10, Y2, Y3)
	STEP2(R11, Y4, Y5)
	STEP2(R12, Y6, Y7)
	ADDQ    $32, R15
	INCQ    AX
	CMPQ    AX, CX
	JLT     two
	STORE2(Y0, Y1)
	STORE2(Y2, Y3)
	STORE2(Y4, Y5)
	STORE2(Y6, Y7)
	VZEROUPPER
	RET

#define STEP1(ELEMENT, P) \
	VBROADCASTSD ELEMENT, Y13  \
	VANDPD       Y15, Y13, Y13 \
	VFMADD231PD  Y12, Y13, P

#define STORE1(P) \
	VADDPD  (DI), P, P \
	VMOVUPD P, (DI)    \
	ADDQ    R8, DI

// func eightByOne(c, a, b *float64, depth, width, stride int, mask *[4]uint64)
TEXT ·eightByOne(SB), NOSPLIT, $0-56
	MOVQ    c+0(FP), DI
	MOVQ    a+8(FP), SI
	MOVQ    b+16(FP), DX
	MOVQ    depth+24(FP), CX
	MOVQ    width+32(FP), R8
	MOVQ    mask+48(FP), R13
	VMOVUPD (R13), Y15
	SHLQ    $3, R8
	LEAQ    (CX*8), R9
	LEAQ    (SI)(R9*2), R10
	ADDQ    R9, R10
	LEAQ    (R10)(R9*2), R11
	ADDQ    R9, R11
	VXORPD  Y0, Y0, Y0
	VXORPD  Y1, Y1, Y1
	VXORPD  Y2, Y2, Y2
	VXORPD  Y3, Y3, Y3
	VXORPD  Y4, Y4, Y4
	VXORPD  Y5, Y5, Y5
	VXORPD  Y6, Y6, Y6
	VXORPD  Y7, Y7, Y7

eight:
	VMOVUPD (DX), Y12
	STEP1((SI), Y0)
	STEP1((SI)(R9*1), Y1)
	STEP1((SI)(R9*2), Y2)
	STEP1((R10), Y3)
	STEP1((R10)(R9*1), Y4)
	STEP1((R10)(R9*2), Y5)
	STEP1((R11), Y6)
	STEP1((R11)(R9*1), Y7)
	ADDQ    $8, SI
	ADDQ    $8, R10
	ADDQ    $8, R11
	ADDQ    $32, DX
	DECQ    CX
	JNZ     eight
	STORE1(Y0)
	STORE1(Y1)
	STORE1(Y2)
	STORE1(Y3)
	STORE1(Y4)
	STORE1(Y5)
	STORE1(Y6)
	STORE1(Y7)
	VZEROUPPER
	RET

// func oneByOne(c, a, b *float64, depth, width, stride int, mask *[4]uint64)
TEXT ·oneByOne(SB), NOSPLIT, $0-56
	MOVQ    c+0(FP), DI
	MOVQ    a+8(FP), SI
	MOVQ    b+16(FP), DX
	MOVQ    depth+24(FP), CX
	MOVQ    mask+48(FP), R13
	VMOVUPD (R13), Y15
	VXORPD  Y0, Y0, Y0

one:
	VMOVUPD (DX), Y12
	STEP1((SI), Y0)
	ADDQ    $8, SI
	ADDQ    $32, DX
	DECQ    CX
	JNZ     one
	VADDPD  (DI), Y0, Y0
	VMOVUPD Y0, (DI)
	VZEROUPPER
	RET
