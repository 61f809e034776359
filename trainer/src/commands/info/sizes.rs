//! The sizes of a network in words, and its parts.

use sit_engine::model::{Dit, ModelConfig, Recognized};

/// A part of a network, with the prefix of its parameters.
pub type Part = (&'static str, &'static str);

/// The sizes, and the parts of which parameters are counted.
pub fn of(known: &Recognized) -> (String, &'static [Part]) {
    match &known.model {
        ModelConfig::Dit(model) => (dit_sizes(model, known), DIT_PARTS),
        ModelConfig::Classifier(model) => {
            let sizes = dit_sizes(&model.trunk, known);
            (format!("classifier of {sizes}"), DIT_PARTS)
        }
        ModelConfig::Autoencoder(model) => {
            let (side, channels) = (model.input_size, model.channels);
            (
                format!("{side}x{side}x{channels}: {model}"),
                AUTOENCODER_PARTS,
            )
        }
        other => (unet_sizes(other, known), UNET_PARTS),
    }
}

const DIT_PARTS: &[Part] = &[
    ("patch embedding", "x_embedder"),
    ("time embedding", "t_embedder"),
    ("label embedding", "y_embedder"),
    ("class tokens", "in_context_posemb"),
    ("blocks", "blocks"),
    ("last layer", "final_layer"),
    ("head", "head"),
];
const AUTOENCODER_PARTS: &[Part] = &[
    ("encoder", "encoder."),
    ("moments", "quant_conv"),
    ("latents", "post_quant_conv"),
    ("decoder", "decoder."),
];
const UNET_PARTS: &[Part] = &[
    ("time embedding", "time_embed"),
    ("label embedding", "label_emb"),
    ("input blocks", "input_blocks"),
    ("middle block", "middle_block"),
    ("output blocks", "output_blocks"),
    ("last layer", "out."),
];

fn dit_sizes(model: &Dit, known: &Recognized) -> String {
    let (image, tokens) = match known.knows_image {
        true => (model.input_size.to_string(), model.tokens().to_string()),
        false => ("?".to_owned(), "?".to_owned()),
    };
    let heads = match known.knows_heads {
        true => format!("{} heads of {}", model.n_heads, model.dim / model.n_heads),
        false => "? heads".to_owned(),
    };
    format!(
        "{image}x{image}x{}, patch {}: {tokens} tokens; width {}, depth {}, {heads}",
        model.channels, model.patch, model.dim, model.depth
    )
}

/// The network's own words. The heads and the image that it has in place of unknown ones are left out.
fn unet_sizes(model: &ModelConfig, known: &Recognized) -> String {
    let [channels, height, _] = model.io().image;
    match known.knows_image && known.knows_heads {
        true => format!("{height}x{height}x{channels}: {model}"),
        false => format!(
            "?x?x{channels}: a U-Net with {} channels where it has attention first",
            model.heads_divide()
        ),
    }
}
