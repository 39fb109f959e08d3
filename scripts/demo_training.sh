# Shared by scripts/demo and scripts/compare, which source it after common.sh: fine-tuning a DINOv2 ViT-S/14 on 1,000 images
# at 56×56, of Fashion-MNIST unless `data` says otherwise.

model=vit_small_patch14_dinov2
weights=demo/$model.safetensors
data=fashion-mnist:/usr/share/datasets/fashion-mnist
respeft=build/bin/respeft

# The highest learning rate of a method here. Of LoRA, reslora-bs and reslora-ms it is the one with which the training loss of seed 0
# ends lowest: with 1e-3, 5e-4 and 2.5e-4 at 0.012 and 0.018 (LoRA), 0.018, 0.016, 0.047 (bs), 0.017, 0.014, 0.047 (ms).
learning_rate() { # METHOD
  case $1 in
    linear) echo 1e-2 ;;
    # On dSprites' location 3e-3, reached in one step, ends rlrr at chance; with 1e-3 it learns.
    rlrr | ssf) [[ $data == vtab:* ]] && echo 1e-3 || echo 3e-3 ;;
    reslora-is) echo 2e-3 ;;
    lora) echo 1e-3 ;;
    reslora-bs | reslora-ms) echo 5e-4 ;;
    bitfit) echo 1e-3 ;;
    full) echo 5e-5 ;;
    *) return 1 ;;
  esac
}

# A finished run is made anew; one that was interrupted goes on where it stopped. The figures in README and docs were measured with
# the schedule of RLRR's code, whose first two epochs run at warmup_lr.
train() { # METHOD DIRECTORY [FLAG…]
  local method=$1 directory=$2
  shift 2
  [[ -f $directory/summary.json ]] && rm -rf "$directory"
  "$respeft" train --method "$method" --lr "$(learning_rate "$method")" --out "$directory" --resume \
    --model "$model" --weights "$weights" --image-size 56 --mean imagenet --std imagenet \
    --data "$data" --train-samples 1000 \
    --epochs 9 --warmup-epochs 1 --warmup-lr 1e-7 --schedule-lag --batch-size 32 --weight-decay 1e-4 "$@" >/dev/null
}
