#!/bin/bash
#SBATCH --nodes=64
#SBATCH --gpus-per-node=8
# An old layout: --tensor-model-parallel-size 2
TP=8
PP=4
MICRO=${MICRO:-1}
DP=$((64 * 8 / (TP * PP)))
GLOBAL=$((DP * 32))

MODEL_ARGS=(
    --num-layers 80 --hidden-size 8192 --ffn-hidden-size 28672   # a 70B
    --num-attention-heads 64 --group-query-attention --num-query-groups $GROUPS_OF_KEYS
    --seq-length 4096 --max-position-embeddings 4096
    --swiglu --disable-bias-linear --untie-embeddings-and-output-weights
    --position-embedding-type rope --vocab-size 128256
)
PARALLEL="--tensor-model-parallel-size $TP --pipeline-model-parallel-size ${PP} \
    --num-layers-per-virtual-pipeline-stage 5 --sequence-parallel --use-distributed-optimizer"

torchrun --nnodes $SLURM_NNODES --nproc-per-node 8 pretrain_gpt.py \
    "${MODEL_ARGS[@]}" $PARALLEL \
    --micro-batch-size $MICRO --global-batch-size "$GLOBAL" \
    --overlap-grad-reduce --overlap-param-gather \
    --recompute-granularity full --recompute-method block --recompute-num-layers 2 \
    --bf16 --fp8-format hybrid --tp-comm-overlap --lr 1.5e-4 --data-path 0.5 first 0.5 second
