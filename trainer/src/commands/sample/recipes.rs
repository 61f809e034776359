//! Settings of the rows of published tables, for `--recipe`.

use std::ffi::OsString;

/// A row of a table: flags of `sit sample` under a name.
struct Recipe {
    name: &'static str,
    flags: &'static str,
}

/// Heun's method with 250 evaluations.
macro_rules! ode {
    () => {
        "--ode heun --steps 125"
    };
}

/// Euler-Maruyama with 250 evaluations; the official code's diffusion and its last step.
macro_rules! sde {
    () => {
        "--sde euler --steps 249 --diffusion sigma --last-step mean --last-step-size 0.04"
    };
}

/// What an official file does not say, and its sampler.
macro_rules! ddpm {
    () => {
        "--path ddpm --prediction noise --ddpm ancestral --respacing 250"
    };
}

/// SiT, table 8 and section 4, and DiT, tables 2 and 3: guidance of three channels as in the official code.
macro_rules! guided {
    () => {
        " --guidance 1.5 --guidance-channels 3"
    };
}

/// A size of image does not change a recipe, but a table has a row for each.
const RECIPES: [Recipe; 8] = [
    Recipe {
        name: "sit-xl-2-ode-250",
        flags: ode!(),
    },
    Recipe {
        name: "sit-xl-2-ode-250-cfg-1.5",
        flags: concat!(ode!(), guided!()),
    },
    Recipe {
        name: "sit-xl-2-sde-250",
        flags: sde!(),
    },
    Recipe {
        name: "sit-xl-2-sde-250-cfg-1.5",
        flags: concat!(sde!(), guided!()),
    },
    Recipe {
        name: "sit-xl-2-512-sde-250-cfg-1.5",
        flags: concat!(sde!(), guided!()),
    },
    Recipe {
        name: "dit-xl-2-ddpm-250",
        flags: ddpm!(),
    },
    Recipe {
        name: "dit-xl-2-ddpm-250-cfg-1.5",
        flags: concat!(ddpm!(), guided!()),
    },
    Recipe {
        name: "dit-xl-2-512-ddpm-250-cfg-1.5",
        flags: concat!(ddpm!(), guided!()),
    },
];

/// Flags of samplers; only one of them may be given.
const SAMPLERS: [&str; 4] = ["--ode", "--sde", "--edm", "--ddpm"];

/// The names of all recipes.
pub fn names() -> impl Iterator<Item = &'static str> {
    RECIPES.iter().map(|recipe| recipe.name)
}

/// The flags that a name stands for.
pub fn flags(name: &str) -> Option<&'static str> {
    let mut all = RECIPES.iter();
    { all.find(|recipe| recipe.name == name) }.map(|recipe| recipe.flags)
}

/// A command line with the flags of its recipe in it, before its own, which take their place; `None` without a known recipe.
pub fn expand(args: &[OsString]) -> Option<Vec<OsString>> {
    if args.get(1).is_none_or(|command| command != "sample") {
        return None;
    }
    let texts = args.iter().map(|arg| arg.to_str().unwrap_or_default());
    let next = args.iter().skip(1).map(|arg| arg.to_str());
    let name = texts.zip(next.chain([None])).find_map(|(arg, next)| {
        match arg.strip_prefix("--recipe")? {
            "" => next,
            rest => rest.strip_prefix('='),
        }
    })?;
    let (command, own) = args.split_at(2);
    let is_own = |flag: &str| {
        own.iter().any(|arg| {
            let rest = arg.to_str().and_then(|arg| arg.strip_prefix(flag));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    };
    let flags = flags(name)?;
    let is_other = |sampler: &&str| {
        is_own(sampler) && !flags.starts_with(*sampler) && !flags.contains(&format!(" {sampler} "))
    };
    let words: Vec<&str> = flags.split(' ').collect();
    let flags = words.chunks(2).filter(|flag| match flag[0] {
        "--guidance" | "--guidance-channels" | "--path" | "--prediction" => true,
        _ => !{ SAMPLERS.iter() }.any(is_other),
    });
    let mut expanded = command.to_vec();
    expanded.extend(flags.flatten().map(OsString::from));
    expanded.extend_from_slice(own);
    Some(expanded)
}
