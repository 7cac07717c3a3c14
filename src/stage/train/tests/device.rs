//! Trainings on another device than the default one, and what is said where a build has none.

use super::*;

#[cfg(not(feature = "tch"))]
#[test]
fn a_build_without_libtorch_says_how_to_get_one_with_it() {
    let issues = params(json!({ "device": "libtorch" })).check();
    assert_eq!(issues.len(), 1);
    assert_eq!(issues[0].path, "device");
    assert_eq!(issues[0].message, "this build of `runner` has no libtorch");
    let help = issues[0].help.as_deref().unwrap();
    assert!(help.contains("scripts/libtorch.sh") && help.contains("--features tch"), "{help}");
}

#[cfg(feature = "tch")]
mod libtorch {
    use super::*;

    fn run(project: &Project, changes: Value, checkpoint: &str) -> Outputs {
        project.run(&params(changes), checkpoint, &Heard::default()).unwrap()
    }

    #[test]
    fn every_network_learns_what_it_learns_on_the_cpu() {
        let project = Project::new(1.0);
        let networks = [
            json!({ "kind": "lstm", "units": [8, 6], "dropout": 0.2 }),
            json!({ "kind": "lstm", "units": [5, 3], "bidirectional": true }),
            json!({ "kind": "gru", "units": [8], "dropout": 0.2 }),
            json!({ "kind": "mlp", "units": [8, 6], "dropout": 0.2 }),
            json!({ "kind": "dlinear", "average": 3 }),
            json!({ "kind": "nlinear" }),
        ];
        for (number, network) in networks.into_iter().enumerate() {
            let [(_, cpu), (outputs, given)] = ["cpu", "libtorch"].map(|device| {
                let changes = json!({ "network": network, "device": device, "epochs": 2 });
                assert!(params(changes.clone()).check().is_empty());
                run(&project, changes, &format!("{device} {number}"))
            });
            for (name, value) in &cpu {
                assert!((given[name] / value - 1.0).abs() < 1e-3, "{network}: {given:?}, {cpu:?}");
            }
            // The model's file knows no device, and predicts with the kernels of `runner`.
            let path = project.folder.path().join("model");
            fs::write(&path, &outputs["model"]).unwrap();
            let model = Model::load(&path).unwrap();
            let validation =
                Windows::read(&project.inputs["data.validation"], &model.window_spec()).unwrap();
            let actual: Vec<f32> = (0..validation.len())
                .flat_map(|window| validation.actual(window))
                .copied()
                .collect();
            let loss = Loss::Mse.of_slices(&model.predict(&validation).unwrap(), &actual, &[]);
            assert!((loss / given["validation_loss"] - 1.0).abs() < 1e-4, "{network}: {loss}");
        }
    }

    #[test]
    fn its_bits_depend_on_no_thread_and_no_stop() {
        let project = &Project::new(1.0);
        let changes = json!({ "device": "libtorch", "network": {
            "kind": "lstm", "units": [40, 40], "dropout": 0.2,
        }});
        let alone = run(project, changes.clone(), "alone");
        let beside: Vec<Outputs> = std::thread::scope(|scope| {
            let start = |number| {
                let changes = changes.clone();
                scope.spawn(move || run(project, changes, &format!("beside {number}")))
            };
            let threads: Vec<_> = (0..3).map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(beside.iter().all(|outputs| *outputs == alone), "the threads count");

        let pruned = Heard { stop: Some((2, Stop::Pruned)), ..Heard::default() };
        assert_eq!(project.run(&params(changes.clone()), "part", &pruned), Err(Stop::Pruned));
        assert!(run(project, changes.clone(), "part") == alone, "the stop counts");

        let mut cpu = changes;
        cpu["device"] = json!("cpu");
        // A checkpoint of one device is not gone on from on another.
        let heard = Heard::default();
        let model = project.run(&params(cpu), "alone", &heard).unwrap().0["model"].clone();
        assert_ne!(model, alone.0["model"]);
        assert_eq!(heard.warnings.lock().unwrap().len(), 1);
    }
}
