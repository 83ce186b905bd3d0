python -m sglang.launch_server --model-path deepseek-ai/DeepSeek-V3 \
  --tp 16 --dp-size 16 --enable-dp-attention --ep-size 16 \
  --max-running-requests 512 --chunked-prefill-size 8192 \
  --mem-fraction-static 0.85 --context-length 16384 --disable-radix-cache --page-size 64
