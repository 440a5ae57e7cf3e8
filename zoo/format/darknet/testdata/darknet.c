// Runs a network in Darknet itself: an oracle for those who have a build of pjreddie's or AlexeyAB's program. The one of
// pjreddie has to have two faults mended, which show without a GPU only: make_batchnorm_layer makes no l.x and l.x_norm, and
// make_deconvolutional_layer sets no l.groups. DARKNET_PJREDDIE and DARKNET_ALEXEYAB tell go test where the programs are.
//
//   cc -O2 -I$D/include -I$D/src -o run darknet.c -L$D -l:libdarknet.a -lm -lpthread           # $D: pjreddie/darknet, built
//   cc -O2 -DALEXEYAB -I$D/include -I$D/src -I$D/3rdparty/stb/include -o run darknet.c $D/obj/*.o -lstdc++ -lm -lpthread
//                                                                   # $D: AlexeyAB/darknet, built, without obj/darknet.o
//   run CFG WEIGHTS INPUT OUTPUT
//
// INPUT holds the network's input as floats. OUTPUT gets, for each layer, an int32 count and as many floats.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "darknet.h"
#include "network.h"
#include "parser.h"

int main(int argc, char **argv)
{
    if (argc != 5) return 2;
#ifdef ALEXEYAB
    network net = parse_network_cfg_custom(argv[1], 1, 1);
    load_weights(&net, argv[2]);
    network *n = &net;
#else
    network *n = parse_network_cfg(argv[1]);
    load_weights(n, argv[2]);
    set_batch_network(n, 1);
#endif
    float *input = calloc(n->inputs, sizeof(float));
    FILE *f = fopen(argv[3], "rb");
    if (!f || fread(input, sizeof(float), n->inputs, f) != (size_t)n->inputs) return 3;
    fclose(f);
#ifdef ALEXEYAB
    network_predict(net, input);
#else
    network_predict(n, input);
#endif
    f = fopen(argv[4], "wb");
    for (int k = 0; k < n->n; ++k) {
        int32_t count = n->layers[k].outputs;
        fwrite(&count, sizeof count, 1, f);
        fwrite(n->layers[k].output, sizeof(float), count, f);
    }
    return fclose(f) ? 4 : 0;
}
