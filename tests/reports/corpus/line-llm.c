step    3/19560 | loss 10.5 (+nanz)| norm 2.5 (+nanz)| lr 1.00e-06 | 250.50 ms | 53.0% bf16 MFU | 17 tok/s
step    3/19660 | loss 10.6 (+nanz)| norm 2.6 (+nanz)| lr 1.00e-06 | 260.60 ms | 63.0% bf16 MFU | 17 tok/s
