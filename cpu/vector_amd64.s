#include "textflag.h"

// Each kernel takes eight elements at a time: widen to float64, multiply, round, check, store. A group passes where every
// product is a normal number of its type, or a zero that came from a zero; the first that does not ends the kernel, not
// stored, for the Go loop to do.
//
// The 16-bit types are rounded in two steps, float64 to float32 to 16 bits. Both steps together round as one does unless
// the first one gives what is half way between two 16-bit neighbours, and is not exact: such groups do not pass either.

// AX counts the elements done, CX is how many there are, DI points to the elements, SI to their scales.
#define BEGIN \
	MOVQ data+0(FP), DI  \
	MOVQ scale+8(FP), SI \
	MOVQ n+16(FP), CX    \
	XORQ AX, AX

// Y = eight times the 32-bit constant.
#define EIGHT(constant, X, Y) \
	MOVL         $constant, BX \
	VMOVD        BX, X         \
	VPBROADCASTD X, Y

// Y = four times the 64-bit constant.
#define FOUR(constant, X, Y) \
	MOVQ         $constant, BX \
	VMOVQ        BX, X         \
	VPBROADCASTQ X, Y

// Y1, Y2 = the eight float32 in Y0 as float64.
#define WIDEN \
	VEXTRACTF128 $1, Y0, X2 \
	VCVTPS2PD    X0, Y1     \
	VCVTPS2PD    X2, Y2

// Y6, Y7 = the products of the eight float64 in Y1 and Y2 and their scales, Y1 = the same as float32.
#define MULTIPLY \
	VMULPD       (SI)(AX*8), Y1, Y6   \
	VMULPD       32(SI)(AX*8), Y2, Y7 \
	VCVTPD2PSY   Y6, X1               \
	VCVTPD2PSY   Y7, X2               \
	VINSERTF128  $1, X2, Y1, Y1

// Y15 the mask without sign, Y14 the largest subnormal number, Y13 the least number that rounds to infinity, Y12 zero.
#define BOUNDS32(subnormal, infinity) \
	EIGHT(0x7fffffff, X15, Y15) \
	EIGHT(subnormal, X14, Y14)  \
	EIGHT(infinity, X13, Y13)   \
	VPXOR Y12, Y12, Y12

// Y3 = all ones where the product Y1 of the element Y0 passes: |Y1| < Y13 and (|Y1| > Y14 or Y0 = 0). Uses Y4, Y5.
#define PASS32 \
	VPAND    Y15, Y1, Y4 \
	VPAND    Y15, Y0, Y5 \
	VPCMPEQD Y12, Y5, Y5 \
	VPCMPGTD Y14, Y4, Y3 \
	VPOR     Y5, Y3, Y3  \
	VPCMPGTD Y4, Y13, Y4 \
	VPAND    Y4, Y3, Y3

// Y11 the bits that a 16-bit type drops from a float32, Y10 the first of them: what is half way.
#define DROPPED(bits, half) \
	EIGHT(bits, X11, Y11) \
	EIGHT(half, X10, Y10)

// BX = a bit for each of the eight float32 in Y1 that is half way; flags are those of BX and BX.
#define HALFWAY \
	VPAND     Y11, Y1, Y4 \
	VPCMPEQD  Y10, Y4, Y4 \
	VMOVMSKPS Y4, BX      \
	TESTL     BX, BX

// BX without the bits of those that are the products in Y6 and Y7; flags are those of BX. Uses X2, Y4, Y5, DX.
#define INEXACT \
	VEXTRACTF128 $1, Y1, X2     \
	VCVTPS2PD    X1, Y4         \
	VCVTPS2PD    X2, Y5         \
	VCMPPD       $0, Y6, Y4, Y4 \
	VCMPPD       $0, Y7, Y5, Y5 \
	VMOVMSKPD    Y4, DX         \
	ANDNL        BX, DX, BX     \
	VMOVMSKPD    Y5, DX         \
	SHLL         $4, DX         \
	ANDNL        BX, DX, BX     \
	TESTL        BX, BX

// func vectorFloat32(data *byte, scale *float64, n int) int
TEXT ·vectorFloat32(SB), NOSPLIT, $0-32
	BEGIN
	BOUNDS32(0x007fffff, 0x7f800000)

next:
	CMPQ      AX, CX
	JGE       done
	VMOVUPS   (DI)(AX*4), Y0
	VCVTPS2PD (DI)(AX*4), Y1
	VCVTPS2PD 16(DI)(AX*4), Y2
	MULTIPLY
	PASS32
	VMOVMSKPS Y3, BX
	CMPL      BX, $0xff
	JNE       done
	VMOVUPS   Y1, (DI)(AX*4)
	ADDQ      $8, AX
	JMP       next

done:
	VZEROUPPER
	MOVQ AX, ret+24(FP)
	RET

// func vectorFloat16(data *byte, scale *float64, n int) int
TEXT ·vectorFloat16(SB), NOSPLIT, $0-32
	BEGIN
	BOUNDS32(0x387fffff, 0x477ff000) // below 2^-14; 65520
	DROPPED(0x1fff, 0x1000)

next:
	CMPQ      AX, CX
	JGE       done
	VCVTPH2PS (DI)(AX*2), Y0
	WIDEN
	MULTIPLY
	PASS32
	VMOVMSKPS Y3, BX
	CMPL      BX, $0xff
	JNE       done
	HALFWAY
	JEQ       round
	INEXACT
	JNE       done

round:
	VCVTPS2PH $0, Y1, (DI)(AX*2)
	ADDQ      $8, AX
	JMP       next

done:
	VZEROUPPER
	MOVQ AX, ret+24(FP)
	RET

// func vectorBFloat16(data *byte, scale *float64, n int) int
TEXT ·vectorBFloat16(SB), NOSPLIT, $0-32
	BEGIN
	BOUNDS32(0x007fffff, 0x7f7f8000)
	DROPPED(0xffff, 0x8000)
	EIGHT(0x7fff, X9, Y9)

next:
	CMPQ       AX, CX
	JGE        done
	VPMOVZXWD  (DI)(AX*2), Y0
	VPSLLD     $16, Y0, Y0
	WIDEN
	MULTIPLY
	PASS32
	VMOVMSKPS  Y3, BX
	CMPL       BX, $0xff
	JNE        done
	HALFWAY
	JEQ        round
	INEXACT
	JNE        done

round: // to nearest, ties to even: half less the least bit that is dropped, and the least bit that stays
	VPSLLD     $15, Y1, Y4
	VPSRLD     $31, Y4, Y4
	VPADDD     Y9, Y4, Y4
	VPADDD     Y4, Y1, Y1
	VPSRLD     $16, Y1, Y1
	VPACKUSDW  Y1, Y1, Y1
	VPERMQ     $0x08, Y1, Y1
	VMOVDQU    X1, (DI)(AX*2)
	ADDQ       $8, AX
	JMP        next

done:
	VZEROUPPER
	MOVQ AX, ret+24(FP)
	RET

// Y1 = the products of the four float64 at offset bytes from the group's start, Y3 = all ones where they pass. Uses Y0,
// Y4, Y5.
#define MULTIPLY64(offset, Y1, Y3) \
	VMOVUPD  offset(DI)(AX*8), Y0    \
	VMULPD   offset(SI)(AX*8), Y0, Y1 \
	VPAND    Y15, Y1, Y4             \
	VPAND    Y15, Y0, Y5             \
	VPCMPEQQ Y12, Y5, Y5             \
	VPCMPGTQ Y14, Y4, Y3             \
	VPOR     Y5, Y3, Y3              \
	VPCMPGTQ Y4, Y13, Y4             \
	VPAND    Y4, Y3, Y3

// func vectorFloat64(data *byte, scale *float64, n int) int
TEXT ·vectorFloat64(SB), NOSPLIT, $0-32
	BEGIN
	FOUR(0x7fffffffffffffff, X15, Y15)
	FOUR(0x000fffffffffffff, X14, Y14)
	FOUR(0x7ff0000000000000, X13, Y13)
	VPXOR Y12, Y12, Y12

next:
	CMPQ      AX, CX
	JGE       done
	MULTIPLY64(0, Y1, Y3)
	MULTIPLY64(32, Y2, Y6)
	VPAND     Y6, Y3, Y3
	VMOVMSKPD Y3, BX
	CMPL      BX, $0xf
	JNE       done
	VMOVUPD   Y1, (DI)(AX*8)
	VMOVUPD   Y2, 32(DI)(AX*8)
	ADDQ      $8, AX
	JMP       next

done:
	VZEROUPPER
	MOVQ AX, ret+24(FP)
	RET

// func vectorRuns(dst, scale *float64, n, inner int)
TEXT ·vectorRuns(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ scale+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ inner+24(FP), DX
	SHLQ $3, DX

run:
	TESTQ        CX, CX
	JLE          end
	VBROADCASTSD (SI), Y0
	LEAQ         (DI)(DX*1), R8 // where the next run begins

four:
	VMOVUPD Y0, (DI)
	ADDQ    $32, DI
	CMPQ    DI, R8
	JLT     four
	MOVQ    R8, DI
	ADDQ    $8, SI
	DECQ    CX
	JMP     run

end:
	VZEROUPPER
	RET
