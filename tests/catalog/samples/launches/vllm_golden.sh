#!/bin/bash
# a server on one node
MODEL=meta-llama/Llama-3.1-70B-Instruct
TP=4
vllm serve meta-llama/Llama-3.1-70B-Instruct \
  -tp $TP --pipeline-parallel-size 2 \
  --max-num-seqs 128 --max-num-batched-tokens 4096 \
  --max-model-len 32k --gpu-memory-utilization 0.92 \
  --kv-cache-dtype fp8 --no-enable-prefix-caching \
  --quantization fp8 --swap-space 4 --enforce-eager \
  --speculative-config '{"method": "eagle", "num_speculative_tokens": 3}'
