python -m sglang.launch_server --model-path deepseek-ai/DeepSeek-V3 \
  --tp 16 --dp-size 3 --enable-dp-attention
